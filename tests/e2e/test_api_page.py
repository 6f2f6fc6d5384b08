"""What docs/api.md tells a newcomer to type works as it stands there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from constellation_pipelines.demo.scenes import generate
from tests.e2e.conftest import CHECKOUT, Stack

PAGE = (CHECKOUT / "docs" / "api.md").read_text()
SIZE_PX = 1088


def commands(scene: Path) -> str:
    """The shell commands of the page, from the first job on, to be stopped by the first failure."""
    chapter = PAGE[PAGE.index("## Submit") : PAGE.index("## In Python")]
    lines = [line[4:] for line in chapter.splitlines() if line.startswith("    ")]
    text = "\n".join(lines).replace("SCENE=coast.tif", f"SCENE={scene}")
    return "set -euo pipefail\n" + text.replace("curl -sS", "curl --fail-with-body -sS")


def key_of_the_page(stack: Stack) -> str:
    """The key that the page's first commands make."""
    made = [
        stack.command(*line.split()[1:])
        for line in PAGE[: PAGE.index("## Submit")].splitlines()
        if line.startswith("    constellation ")
    ]
    return made[-1].strip()


def program() -> str:
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_and_the_program_of_the_page_lead_to_coverage(
    stack: Stack, tmp_path: Path
) -> None:
    key = key_of_the_page(stack)
    environment = os.environ | {
        "API": f"{stack.urls['api']}/api/v1",
        "AUTH": f"Authorization: Bearer {key}",
        "CONSTELLATION_API_KEY": key,
    }

    def does(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    folder = stack.data_dir / "scenes"
    folder.mkdir(exist_ok=True)
    typed = does("bash", "-c", commands(generate(folder / "coast.tif", SIZE_PX)))
    job = json.loads((tmp_path / "job.json").read_text())
    tiles = job["tiles_completed"]
    assert (job["submitted_by"], tiles > 1) == ("ann", True)
    assert "event: end" in typed
    assert "day,model,gpu_s,energy_j,tiles,area_km2" in typed
    assert f'"missing":0,"missing_runs":[],"total":{{"tiles":{tiles},' in typed, "analytics"
    assert '"tilejson":"3.0.0"' in typed
    assert (tmp_path / "tiles.geojson").read_text().count('"Feature"') == tiles
    assert (
        does(sys.executable, "-c", program()).splitlines()[-1] == f"coast COMPLETED {tiles} tiles"
    )
