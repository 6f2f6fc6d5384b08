"""Scenes behind URLs: which hosts, which bytes, and the local mirror that GDAL opens."""
