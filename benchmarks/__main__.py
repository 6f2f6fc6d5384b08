"""`python -m benchmarks [NAME...]`: run benchmarks, print their tables, keep their results."""

import importlib
import sys

from benchmarks.measurement import save, table

NAMES = ("launch", "chaos", "engine", "api", "streams", "fuzz", "remote", "analytics", "coverage")
WITH = {"api": ("streams",)}  # what is measured too where this is asked for


def main(names: list[str]) -> None:
    """Run the named benchmarks, all of them if none is named."""
    from rich.console import Console

    unknown = set(names) - set(NAMES)
    if unknown:
        sys.exit(f"error: no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    asked = [also for name in names or NAMES for also in (name, *WITH.get(name, ()))]
    for name in dict.fromkeys(asked):
        measurements = importlib.import_module(f"benchmarks.{name}").run()
        Console().print(table(name, measurements))
        print(f"written to {save(name, measurements)}")


if __name__ == "__main__":
    main(sys.argv[1:])
