"""Routes of GPUs."""

from fastapi import APIRouter

from api.deps import DatabasePart
from api.schemas.gpu import GpuList, GpuReply
from constellation_pipelines.store import devices

router = APIRouter(prefix="/api/v1/gpus", tags=["gpus"])


@router.get("", summary="List GPUs")
def list_gpus(database: DatabasePart) -> GpuList:
    """Every GPU, whether it is there now, and who holds it."""
    with database.transaction() as connection:
        found = devices.list_all(connection)
    return GpuList(items=[GpuReply.of(device) for device in found])
