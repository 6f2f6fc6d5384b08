"""Settings of commands that talk to a running stack."""

from constellation_pipelines.settings import Settings
from constellation_pipelines.stack import status


def attached(settings: Settings) -> Settings:
    """The settings, with what they leave open taken from the running stack of the data directory.

    Where no stack runs there, they are returned as they are.
    """
    running = status.read_running(settings.data_dir)
    if running is None:
        return settings
    found = {
        "database_url": settings.database_url or running.urls.get("database"),
        "nats_url": settings.nats_url or running.urls.get("nats"),
        "api_url": settings.api_url or running.urls.get("api"),
        "dagster_url": settings.dagster_url or running.urls.get("dagster"),
    }
    return settings.model_copy(update=found)
