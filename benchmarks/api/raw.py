"""Statements over asyncpg, without an API: what PostgreSQL and a fast driver do by themselves.

    .venv-peers-api/bin/python benchmarks/api/raw.py TASK.json

A task is {"url", "transactions": [[statement, ...]], "connections", "seconds"}; `{id}` in a
statement stands for a new UUID. It prints a line of JSON with a rate for each transaction.
"""

import asyncio
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any


async def rate(
    url: str, statements: list[str], connections: int, seconds: float
) -> dict[str, float]:
    """Transactions a second, each connection one after the other, and their processor time."""
    import asyncpg  # type: ignore[import-not-found, unused-ignore]

    opened = [await asyncpg.connect(url) for _ in range(connections)]
    ready = [[await prepared(one, text) for text in statements] for one in opened]
    ends_at = time.perf_counter() + seconds

    async def work(connection: Any, steps: list[tuple[Any, int]]) -> int:
        count = 0
        while time.perf_counter() < ends_at:
            ids = [uuid.uuid4()]
            async with connection.transaction():
                for step, takes in steps:
                    await step.fetch(*ids[:takes])
            count += 1
        return count

    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    counts = await asyncio.gather(*map(work, opened, ready))
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    await asyncio.gather(*(one.close() for one in opened))
    return {"per_s": sum(counts) / took_s, "cpu_ms": 1e3 * cpu_s / max(1, sum(counts))}


async def prepared(connection: Any, text: str) -> tuple[Any, int]:
    """A statement that is ready, and how many arguments it takes."""
    takes = text.count("{id}") > 0
    return await connection.prepare(text.replace("{id}", "$1::uuid")), int(takes)


async def main(path: str) -> None:
    """Every transaction of a task in turn."""
    task = json.loads(Path(path).read_text())
    how = {"connections": task["connections"], "seconds": task["seconds"]}
    done = [await rate(task["url"], statements, **how) for statements in task["transactions"]]
    print(json.dumps(done))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
