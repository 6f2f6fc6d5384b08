"""Errors a user can cause or meet. They know nothing of HTTP or Dagster; each door translates them.

The message says what was wrong, where, and what to do next. It is shown to users as it is.
"""


class ConstellationError(Exception):
    """Base of every error with a message for users.

    `code` is stable and machine readable; `field` points at the input that was wrong, if one was.
    """

    code = "error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidInput(ConstellationError):
    """The input has the right shape but a value that cannot be used."""

    code = "invalid_input"


class SceneRefused(ConstellationError):
    """A raster that cannot become a scene."""

    code = "scene_refused"


class ModelRefused(ConstellationError):
    """A model package that cannot be used."""

    code = "model_refused"


class SceneUnfit(ConstellationError):
    """A registered scene that this model cannot take: bands, resolution or radiometry."""

    code = "scene_unfit"


class AoiMissesScene(ConstellationError):
    """The area of interest does not touch the scene."""

    code = "aoi_misses_scene"


class NotFound(ConstellationError):
    """No such scene, model, job or run."""

    code = "not_found"


class Conflict(ConstellationError):
    """The request contradicts what is already there."""

    code = "conflict"


class Unauthenticated(ConstellationError):
    """Nobody knows who asks: no key, or one that is not good."""

    code = "unauthenticated"


class Forbidden(ConstellationError):
    """It is known who asks, and they may not."""

    code = "forbidden"


class QuotaExceeded(ConstellationError):
    """The account may not use as much as this would take."""

    code = "quota_exceeded"


class TooManyRequests(ConstellationError):
    """They come faster than the account may send them; `retry_after_s` says when one is taken."""

    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after_s: float, field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.retry_after_s = retry_after_s


class ServiceUnavailable(ConstellationError):
    """A service that is needed does not answer right now; trying again later can work."""

    code = "service_unavailable"


class LeaseLost(ConstellationError):
    """A write came from a run whose lease has passed to another process; it changed nothing."""

    code = "lease_lost"


class ReadFailed(ConstellationError):
    """Pixels that could not be read, though the file opened."""

    code = "read_failed"


class PixelsLate(ConstellationError):
    """Pixels of a remote scene that are not here yet; the run gives its device back meanwhile."""

    code = "pixels_late"


class EngineFailed(ConstellationError):
    """The engine of a device died or refused a request."""

    code = "engine_failed"


class RunFailed(ConstellationError):
    """A run that ended with too few good tiles to be called complete."""

    code = "run_failed"
