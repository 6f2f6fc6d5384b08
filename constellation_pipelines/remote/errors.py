"""What can go wrong between us and a host: for good, or for now."""

from constellation_pipelines.domain.errors import SceneRefused, ServiceUnavailable


class RemoteRefused(SceneRefused):
    """Trying again would not help: not allowed, not there, changed, not a raster we can take."""


class RemoteAway(ServiceUnavailable):
    """A host that does not answer as it should right now. `retry_after_s` is what it asked for."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
