"""Registered model packages."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.domain.errors import NotFound
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.model import Model
from constellation_pipelines.inference.package import load_package
from constellation_pipelines.store import models
from constellation_pipelines.store.database import Database

PACKAGE = Path(__file__).parent.parent.parent / "models" / "eurosat-landcover" / "1"


def package(version: str = "1", **changes: Any) -> Model:
    """The committed package, as another version of itself."""
    model = load_package(PACKAGE)
    properties = {**model.document["properties"], "version": version}
    document = {**model.document, "properties": properties}
    card = replace(model.card, version=version)
    return replace(model, id=new_id(), card=card, document=document, **changes)


def test_a_package_is_found_as_it_was_saved(database: Database) -> None:
    with database.transaction() as connection:
        saved = models.save(connection, package())
    assert saved.created_at is not None
    with database.transaction() as connection:
        for reference in ("eurosat-landcover", "eurosat-landcover@1", str(saved.id)):
            assert models.find(connection, reference) == saved


def test_saving_again_keeps_the_id(database: Database) -> None:
    with database.transaction() as connection:
        first = models.save(connection, package())
        assert models.save(connection, package()) == first
        assert len(models.list_all(connection)) == 1


def test_a_changed_package_takes_the_place_of_its_version(database: Database) -> None:
    with database.transaction() as connection:
        first = models.save(connection, package())
        changed = models.save(connection, package(digest="f" * 64, folder="/elsewhere"))
        assert changed.id == first.id
        assert (changed.digest, changed.folder) == ("f" * 64, "/elsewhere")
        assert models.list_all(connection) == [changed]


def test_a_bare_name_means_the_highest_version(database: Database) -> None:
    with database.transaction() as connection:
        for version in ("2", "10", "9", "1.5"):
            models.save(connection, package(version))
        found = models.find(connection, "eurosat-landcover")
        versions = [model.card.version for model in models.list_all(connection)]
    assert found.card.version == "10"
    assert versions == ["1.5", "2", "9", "10"]


def test_the_newest_of_each_name_are_what_bare_names_mean() -> None:
    card = package("3").card
    other = replace(package("3"), card=replace(card, name="landcover-unet"))
    found = models.newest([package("9"), other, package("10"), package("2")])
    assert sorted(one.card.reference for one in found) == [
        "eurosat-landcover@10",
        "landcover-unet@3",
    ]
    assert models.newest([]) == []


def test_releases_come_after_their_candidates() -> None:
    ordered = sorted(["1.0", "1.rc1", "1", "1.0.1", "2-beta"], key=models.version_order)
    assert ordered == ["1", "1.rc1", "1.0", "1.0.1", "2-beta"]


@pytest.mark.parametrize(
    "reference",
    [
        "nothing",
        "eurosat-landcover@2",
        "",
        "%",
        "eurosat%",
        "' or 1=1 --",
        pytest.param(str(new_id()), id="an id of nothing"),
        "x" * 9999,
    ],
)
def test_an_unknown_reference_lists_what_there_is(database: Database, reference: str) -> None:
    with database.transaction() as connection:
        models.save(connection, package())
        with pytest.raises(NotFound, match="eurosat-landcover@1") as missing:
            models.find(connection, reference)
    assert missing.value.field == "model"
    assert len(missing.value.message) < 300


def test_an_empty_registry_says_so(database: Database) -> None:
    with database.transaction() as connection, pytest.raises(NotFound, match="none is registered"):
        models.find(connection, "any")
