"""One stack for tests of several devices and of scenes behind URLs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack, running_stack
from tests.remote.range_server import RangeServer, serving

FAR_SCENE = "s2b_l1c_capelookout_west_4326_rgbnir_u8"


@pytest.fixture(scope="package")
def far_server(sample_data: Path) -> Iterator[RangeServer]:
    """Serves a real scene as far.tif."""
    content = (sample_data / "scenes" / f"{FAR_SCENE}.tif").read_bytes()
    with serving(**{"far.tif": content}) as started:
        yield started


@pytest.fixture(scope="package")
def fleet(
    far_server: RangeServer, sample_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """`constellation up --simulate-gpus 4`, with short pauses; it may fetch from the server."""
    data_dir = tmp_path_factory.mktemp("fleet")
    roots = [sample_data / "scenes", data_dir / "scenes"]
    settings = {
        "CONSTELLATION_QUARANTINE_S": "3",
        "CONSTELLATION_SCENE_ROOTS": os.pathsep.join(map(str, roots)),
        "CONSTELLATION_REMOTE_HOSTS": far_server.origin,
        "CONSTELLATION_REMOTE_PRIVATE_HOSTS": "127.0.0.1",
    }
    with running_stack(data_dir, settings, "--simulate-gpus", "4") as started:
        yield started
