"""Virtual environments of peers: what a benchmark compares with is not installed in ours."""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
STAMP = "installed.txt"


def prepare(folder: Path, requirements: Path) -> Path:
    """The Python of an environment with these packages; it is made where it is not there yet."""
    python, stamp = folder / "bin" / "python", folder / STAMP
    wanted = requirements.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing peers into {folder.name}; this happens once", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)]
        subprocess.run(command, check=True)
        stamp.write_text(wanted)
    return python
