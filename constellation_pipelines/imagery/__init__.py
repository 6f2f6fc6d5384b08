"""Opening rasters safely and describing them as scenes."""
