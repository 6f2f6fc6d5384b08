"""Routes of GPUs."""

from fastapi import APIRouter

from api.deps import DatabasePart
from api.schemas.gpu import GpuList, GpuReply
from constellation_pipelines.store import devices, faults

router = APIRouter(prefix="/api/v1/gpus", tags=["gpus"])


FAULTS = 5  # of each device


@router.get("", summary="List GPUs")
def list_gpus(database: DatabasePart) -> GpuList:
    """Every GPU, whether it is there and well, who holds it, and what went wrong on it lately."""
    with database.transaction() as connection:
        found = devices.list_all(connection)
        latest = faults.latest(connection, FAULTS)
    return GpuList(items=[GpuReply.of(device, latest.get(device.id, [])) for device in found])
