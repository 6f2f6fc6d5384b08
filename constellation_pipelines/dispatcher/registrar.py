"""Registers the packages of the models folder: at the start, and whenever the folder changes."""

import time
from collections.abc import Callable
from pathlib import Path

from constellation_pipelines.inference.package import discover
from constellation_pipelines.store import models
from constellation_pipelines.store.database import Database
from constellation_pipelines.worker.stamp import models_stamp

LOOK_S = 2.0


class Registrar:
    """Keeps the table of models and the loaded definitions in step with the folder."""

    def __init__(self, database: Database, models_dir: Path, reload: Callable[[], None]) -> None:
        """`reload` reads the definitions anew."""
        self._database = database
        self._models_dir = models_dir
        self._reload = reload
        self._stamp = ""
        self._look_at = 0.0

    def register(self) -> None:
        """Enter every package that is in order. Raises ServiceUnavailable without a database."""
        stamp = models_stamp(self._models_dir)
        found = discover(self._models_dir)
        with self._database.transaction() as connection:
            for model in found:
                models.save(connection, model)
        self._stamp = stamp

    def look(self) -> None:
        """Register again where something has changed since the last time; quick where not."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        if models_stamp(self._models_dir) != self._stamp:
            print("the models folder has changed: registering its packages", flush=True)
            self.register()
            self._reload()
