"""Registered model packages."""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.errors import NotFound
from constellation_pipelines.domain.model import Model, ModelCard
from constellation_pipelines.store.database import Connection

COLUMNS = "id, digest, folder, document::text as document, created_at"

SAVE = f"""
insert into constellation.models (id, name, version, digest, folder, document)
values (%(id)s, %(name)s, %(version)s, %(digest)s, %(folder)s, %(document)s)
on conflict (name, version) do update
   set digest = excluded.digest, folder = excluded.folder, document = excluded.document
returning {COLUMNS}
"""

LIST = f"select {COLUMNS} from constellation.models"

BY_NAME = f"""
select {COLUMNS} from constellation.models
 where name = %(name)s or name || '@' || version = %(name)s
"""

BY_ID = f"select {COLUMNS} from constellation.models where id = %s"


def save(connection: Connection, model: Model) -> Model:
    """Register a package, or what has become of it: name and version stay one row and one id."""
    row = connection.execute(
        SAVE,
        {
            "id": model.id,
            "name": model.card.name,
            "version": model.card.version,
            "digest": model.digest,
            "folder": model.folder,
            "document": Jsonb(model.document),
        },
    ).fetchone()
    assert row is not None  # an upsert always returns its row
    return model_of(row)


def find(connection: Connection, reference: str) -> Model:
    """The model of a reference: `name@version`, `name` for its highest version, or an id.

    Raises NotFound, which lists the models there are.
    """
    if (identity := uuid_in(reference)) is not None:
        row = connection.execute(BY_ID, (identity,)).fetchone()
        if row is not None:
            return model_of(row)
    # PostgreSQL takes neither NUL nor half a surrogate pair; no name holds them.
    found = of_rows(connection, BY_NAME, {"name": reference}) if reference.isprintable() else []
    if not found:
        models = list_all(connection)
        known = ", ".join(model.card.reference for model in models) or "none is registered"
        raise NotFound(f"there is no model {reference[:100]!r}; there are: {known}", field="model")
    return found[-1]


def list_all(connection: Connection) -> list[Model]:
    """Every model, by name, then from its lowest version to its highest."""
    return of_rows(connection, LIST)


def of_rows(connection: Connection, statement: str, args: Any = None) -> list[Model]:
    """The models that a statement finds, by name, then by version."""
    models = [model_of(row) for row in connection.execute(statement, args)]
    return sorted(models, key=lambda model: (model.card.name, version_order(model.card.version)))


def model_of(row: dict[str, Any]) -> Model:
    """A row as a model."""
    document, card = described(row["document"])
    return Model(**{**row, "document": document, "card": card})


@lru_cache(maxsize=256)
def described(text: str) -> tuple[dict[str, Any], ModelCard]:
    """A document as it is stored and the card in it: read once, however often it is asked for."""
    document = json.loads(text)
    return document, parse_card(document)


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key that puts 10 after 9, and words before numbers, so that 1.0 comes after 1.rc."""
    parts = re.findall(r"\d+|[^\d.-]+", version)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


def newest(models: Iterable[Model]) -> list[Model]:
    """The newest version of each name: what a job gets that asks for none."""
    ordered = sorted(models, key=lambda model: version_order(model.card.version))
    return list({model.card.name: model for model in ordered}.values())


def uuid_in(text: str) -> UUID | None:
    """The UUID a text is, or None."""
    try:
        return UUID(text)
    except ValueError:
        return None
