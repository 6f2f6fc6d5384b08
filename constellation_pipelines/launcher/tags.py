"""Run tags that Constellation reads and writes."""

from collections.abc import Mapping

from constellation_pipelines.domain.errors import InvalidInput

JOB_ID = "constellation/job_id"
ACCOUNT = "constellation/account"
GPU_COUNT = "constellation/gpu_count"
GPU_MEM_MB = "constellation/gpu_mem_mb"
MODEL = "constellation/model"
PRIORITY = "dagster/priority"
PARTITION = "dagster/partition"

MAX_GPU_COUNT = 64
MAX_GPU_MEM_MB = 10_000_000


def gpu_count(tags: Mapping[str, str]) -> int:
    """Devices a run asks for; one unless its tag says otherwise, none is allowed."""
    return whole_number(tags, GPU_COUNT, default=1, low=0, high=MAX_GPU_COUNT)


def gpu_mem_mb(tags: Mapping[str, str]) -> int | None:
    """Memory a run states that it needs on each of its devices; None where it states nothing."""
    if GPU_MEM_MB not in tags:
        return None
    return whole_number(tags, GPU_MEM_MB, default=1, low=1, high=MAX_GPU_MEM_MB)


def priority(tags: Mapping[str, str]) -> int:
    """Priority of a run; higher goes first."""
    return whole_number(tags, PRIORITY, default=0, low=-(2**31), high=2**31 - 1)


def check(tags: Mapping[str, str]) -> None:
    """Raise InvalidInput for the first tag that makes no sense."""
    gpu_count(tags)
    gpu_mem_mb(tags)
    priority(tags)


def whole_number(tags: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    """A tag as a bounded integer. Raises InvalidInput that names the tag."""
    text = tags.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InvalidInput(
            f"run tag {name} is {text!r}; it must be a whole number from {low} to {high}",
            field=name,
        )
    return value
