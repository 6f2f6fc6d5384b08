"""The table of models follows the models folder."""

import shutil
from pathlib import Path

import pytest

from constellation_pipelines.dispatcher import registrar as module
from constellation_pipelines.dispatcher.registrar import Registrar
from constellation_pipelines.store import models
from constellation_pipelines.store.database import Database
from tests.inference.conftest import PACKAGE


class Folder:
    """A models folder, and the registrar that looks after it."""

    def __init__(self, database: Database, path: Path) -> None:
        self.path = path
        self.reloads = 0
        self.database = database
        self.registrar = Registrar(database, path, self._reload)

    def _reload(self) -> None:
        self.reloads += 1

    def put(self) -> None:
        shutil.copytree(PACKAGE, self.path / "eurosat-landcover" / "1")

    @property
    def registered(self) -> list[str]:
        with self.database.transaction() as connection:
            return [model.card.reference for model in models.list_all(connection)]


@pytest.fixture
def folder(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    made = Folder(database, tmp_path / "models")
    made.registrar.register()
    return made


def test_a_package_that_comes_is_registered_and_the_definitions_read_anew(folder: Folder) -> None:
    assert folder.registered == []
    folder.put()
    folder.registrar.look()
    assert (folder.registered, folder.reloads) == (["eurosat-landcover@1"], 1)


def test_while_nothing_changes_nothing_is_read(folder: Folder) -> None:
    folder.put()
    for _ in range(3):
        folder.registrar.look()
    assert folder.reloads == 1


def test_a_package_whose_weights_are_still_on_their_way_is_taken_when_they_are_there(
    folder: Folder,
) -> None:
    place = folder.path / "eurosat-landcover" / "1"
    place.mkdir(parents=True)
    shutil.copy(PACKAGE / "model.json", place)
    folder.registrar.look()
    assert folder.registered == []
    shutil.copy(PACKAGE / "weights.safetensors", place)
    folder.registrar.look()
    assert folder.registered == ["eurosat-landcover@1"]


def test_a_package_that_goes_stays_registered_for_what_was_computed_with_it(
    folder: Folder,
) -> None:
    folder.put()
    folder.registrar.look()
    shutil.rmtree(folder.path / "eurosat-landcover")
    folder.registrar.look()
    assert folder.registered == ["eurosat-landcover@1"]
