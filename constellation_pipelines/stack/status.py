"""How the stack is, as written to `<data_dir>/stack.json` for other processes to read."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from constellation_pipelines.domain.errors import ServiceUnavailable
from constellation_pipelines.stack.process import ProcessId
from constellation_pipelines.stack.service import State

FILE = "stack.json"


@dataclass(frozen=True)
class ServiceStatus:
    """One service. `since` is when it entered its state; `restarts` counts from `up` on."""

    name: str
    state: State
    process: ProcessId | None
    since: datetime
    restarts: int
    log: Path
    address: str

    @property
    def is_up(self) -> bool:
        """Whether it can be used now; a process that has gone without a word counts as down."""
        if self.state is State.DONE:
            return True
        return self.state is State.READY and self.process is not None and self.process.is_alive


@dataclass(frozen=True)
class StackStatus:
    """The whole stack. `simulated` is None until its worker has said which devices it has.

    `urls` holds `api`, `dashboard`, `dagster`, and the `database` and `nats` of embedded services.
    """

    stack_id: str
    process: ProcessId
    started_at: datetime
    ready: bool
    simulated: bool | None
    urls: Mapping[str, str]
    services: tuple[ServiceStatus, ...] = field(default=())

    @property
    def is_running(self) -> bool:
        """Whether the process that keeps the stack up lives."""
        return self.process.is_alive

    @property
    def all_up(self) -> bool:
        """Whether every service can be used."""
        return self.is_running and self.ready and all(service.is_up for service in self.services)

    def as_json(self) -> dict[str, Any]:
        """Plain values, instants in ISO 8601."""
        return {
            "stack_id": self.stack_id,
            "process": _process_json(self.process),
            "started_at": self.started_at.isoformat(),
            "ready": self.ready,
            "simulated": self.simulated,
            "urls": dict(self.urls),
            "services": [_service_json(service) for service in self.services],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `as_json`. Raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            stack_id=str(value["stack_id"]),
            process=ProcessId(**value["process"]),
            started_at=datetime.fromisoformat(value["started_at"]),
            ready=bool(value["ready"]),
            simulated=value["simulated"],
            urls=dict(value["urls"]),
            services=tuple(_service(service) for service in value["services"]),
        )


def write(data_dir: Path, status: StackStatus) -> None:
    """Replace the file at once; only the owner may read it."""
    path = data_dir / FILE
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(status.as_json(), indent=2) + "\n")
    os.replace(fresh, path)


def read(data_dir: Path) -> StackStatus | None:
    """What was written last, whether or not it still runs; None where there is nothing to read.

    Raises ServiceUnavailable where the stack is another user's.
    """
    try:
        return StackStatus.from_json(json.loads((data_dir / FILE).read_text()))
    except PermissionError as error:
        raise ServiceUnavailable(f"the stack in {data_dir} belongs to another user") from error
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, ValueError):
        return None


def read_running(data_dir: Path) -> StackStatus | None:
    """The running stack of a data directory, or None."""
    status = read(data_dir)
    return status if status and status.is_running else None


def forget(data_dir: Path) -> None:
    """Delete the file."""
    (data_dir / FILE).unlink(missing_ok=True)


def _process_json(process: ProcessId | None) -> dict[str, Any] | None:
    return {"pid": process.pid, "start": process.start} if process else None


def _service_json(service: ServiceStatus) -> dict[str, Any]:
    return {
        "name": service.name,
        "state": service.state.value,
        "process": _process_json(service.process),
        "since": service.since.isoformat(),
        "restarts": service.restarts,
        "log": str(service.log),
        "address": service.address,
    }


def _service(value: Mapping[str, Any]) -> ServiceStatus:
    process = value["process"]
    return ServiceStatus(
        name=value["name"],
        state=State(value["state"]),
        process=ProcessId(**process) if process else None,
        since=datetime.fromisoformat(value["since"]),
        restarts=int(value["restarts"]),
        log=Path(value["log"]),
        address=value["address"],
    )
