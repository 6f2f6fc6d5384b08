"""The peers' own virtual environment, and how a peer is run in it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.rounds import Timed
from benchmarks.engine.workload import Workload, write_json

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / ".venv-peers"
REQUIREMENTS = Path(__file__).parent / "peers.txt"
STAMP = "installed.txt"
RUN_S = 600


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What a peer took, and what it says it is."""

    timed: Timed
    what: str


def prepare() -> Path:
    """The environment's Python; it is made, and its packages are installed, where they differ."""
    python, stamp = FOLDER / "bin" / "python", FOLDER / STAMP
    wanted = REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing the peers into {FOLDER.name}; this happens once", flush=True)
        subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)]
        subprocess.run(command, check=True)
        stamp.write_text(wanted)
    return python


def run_peer(peer: str, workload: Workload, folder: Path, chips: int | None) -> PeerRun:
    """Run a peer over the first `chips` of a workload, all without. Raises where it fails."""
    out = folder / f"{peer}.tif"
    job = write_json(folder / f"{peer}.json", workload.for_peers(out, chips))
    command = [str(prepare()), "-m", f"benchmarks.engine.peers.{peer}", str(job)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{peer} failed: {done.stderr.strip().splitlines()[-1:]}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    if not told["chips"]:
        raise RuntimeError(f"{peer} found no chips in {workload.scene.name}")
    return PeerRun(Timed(told["chips"], told["cpu_s"], told["wall_s"]), told["what"])
