"""The peers' own virtual environment, and how a peer is run in it."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.rounds import Timed
from benchmarks.engine.workload import Workload, write_json
from benchmarks.environment import CHECKOUT, prepare

FOLDER = CHECKOUT / ".venv-peers"
REQUIREMENTS = Path(__file__).parent / "peers.txt"
RUN_S = 600


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What a peer took, and what it says it is."""

    timed: Timed
    what: str


def run_peer(peer: str, workload: Workload, folder: Path, chips: int | None) -> PeerRun:
    """Run a peer over the first `chips` of a workload, all without. Raises where it fails."""
    out = folder / f"{peer}.tif"
    job = write_json(folder / f"{peer}.json", workload.for_peers(out, chips))
    command = [
        str(prepare(FOLDER, REQUIREMENTS)),
        "-m",
        f"benchmarks.engine.peers.{peer}",
        str(job),
    ]
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
