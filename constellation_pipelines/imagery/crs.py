"""The CRS of a raster: is it a map of the Earth, and how is it written down?"""

from pyproj import CRS
from pyproj.exceptions import CRSError

from constellation_pipelines.domain.errors import SceneRefused

EARTH_RADIUS_M = (6.2e6, 6.5e6)
HOW_TO_WARP = "warp it to a map projection first (gdalwarp -t_srs EPSG:...)"


def describe_crs(wkt: str) -> str:
    """ "EPSG:n" where the CRS surely is that one, else its WKT; heights are left out.

    Raises SceneRefused for what is no horizontal CRS of the Earth.
    """
    try:
        crs = CRS.from_wkt(wkt)
    except CRSError as error:
        raise SceneRefused(f"its CRS cannot be understood; {HOW_TO_WARP}") from error
    while crs.is_bound and crs.source_crs is not None:
        crs = crs.source_crs
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    if not (crs.is_projected or crs.is_geographic):
        raise SceneRefused(f"its CRS is a {crs.type_name}, no map of the Earth; {HOW_TO_WARP}")
    radius_m = crs.ellipsoid.semi_major_metre if crs.ellipsoid is not None else 0.0
    if not EARTH_RADIUS_M[0] < radius_m < EARTH_RADIUS_M[1]:
        raise SceneRefused("its CRS is of another body than the Earth")
    crs = crs.to_2d()
    code = crs.to_epsg(min_confidence=90)
    if code is not None and CRS.from_epsg(code).equals(crs, ignore_axis_order=True):
        return f"EPSG:{code}"
    return str(crs.to_wkt())
