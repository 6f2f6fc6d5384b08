"""A CRS from a file is known, written down whole, or refused."""

import pytest

from constellation_pipelines.domain.errors import SceneRefused
from constellation_pipelines.imagery.crs import describe_crs


@pytest.mark.parametrize("wkt", ["", "x", "PROJCS[", 'PROJCS["no parts"]'])
def test_what_is_no_crs_is_refused(wkt: str) -> None:
    with pytest.raises(SceneRefused, match="gdalwarp"):
        describe_crs(wkt)
