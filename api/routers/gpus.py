"""Routes of GPUs."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import DatabasePart, SamplesPart
from api.routing import Route
from api.schemas.base import NO_CONTROLS
from api.schemas.gpu import GpuList, GpuReply, SampleList, SampleReply
from constellation_pipelines.domain.sample import Sample
from constellation_pipelines.store import devices, faults

router = APIRouter(prefix="/api/v1/gpus", tags=["gpus"], route_class=Route)


FAULTS = 5  # of each device


@router.get("", summary="List GPUs")
def list_gpus(database: DatabasePart, samples: SamplesPart) -> GpuList:
    """Every GPU, whether it is there and well, who holds it, and what went wrong on it lately."""
    with database.transaction() as connection:
        found = devices.list_all(connection)
        latest = faults.latest(connection, FAULTS)
    items = [
        GpuReply.of(device, latest.get(device.id, []), samples.latest(device.uuid))
        for device in found
    ]
    return GpuList(items=items)


@router.get("/{uuid}/samples", summary="Show what a GPU has been doing")
def list_samples(
    uuid: Annotated[str, Path(min_length=1, max_length=100, pattern=NO_CONTROLS)],
    database: DatabasePart,
    samples: SamplesPart,
    seconds: Annotated[int, Query(ge=1, le=3600, description="How far back.")] = 3600,
    step_s: Annotated[int, Query(ge=1, le=600, description="At most one sample in so long.")] = 1,
) -> SampleList:
    """Samples of the last hour, one a second at most."""
    with database.transaction() as connection:
        simulated = devices.is_simulated(connection, uuid)
    found = thinned(samples.since(uuid, seconds), step_s)
    items = [SampleReply.model_validate(sample) for sample in found]
    return SampleList(uuid=uuid, simulated=simulated, items=items)


def thinned(samples: Sequence[Sample], step_s: int) -> list[Sample]:
    """The last sample of each `step_s` seconds."""
    last_of = {int(sample.at.timestamp()) // step_s: sample for sample in samples}
    return list(last_of.values())
