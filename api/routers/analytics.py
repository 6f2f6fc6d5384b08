"""Routes of analytics: what was found, counted from the files of the lake."""

from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import AnalystPart, DatabasePart, SettingsPart
from api.places import box_of
from api.routing import Route
from api.schemas.analytics import CLASS_COLUMNS, SERIES_COLUMNS, Classes, Series, Teller
from api.schemas.base import Day, Reference
from api.spreadsheet import csv_of
from constellation_pipelines.domain.analytics import boxes_of
from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.domain.model import Model
from constellation_pipelines.lake.analytics import Analyst, Period, Question, RunFile
from constellation_pipelines.lake.files import files_of_run
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import jobs, models, scenes
from constellation_pipelines.store.analytics import CompletedRun, Selection, runs_of
from constellation_pipelines.store.database import Database

router = APIRouter(prefix="/api/v1/analytics", tags=["analytics"], route_class=Route)

MOST_RUNS = 5_000  # files that one question may read
CSV: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/csv": {"schema": {"type": "string"}}},
        "headers": {
            "X-Missing-Runs": {
                "description": "`missing`, for CSV has no place for it.",
                "schema": {"type": "integer"},
            }
        },
    }
}


class ResultsQuery(BaseModel):
    """Which results to count."""

    model_config = ConfigDict(extra="forbid")

    model: Reference = Field(description="`name@version`; of a name alone the newest version.")
    bbox: str | None = Field(
        default=None,
        max_length=200,
        description="west,south,east,north in degrees; west > east crosses 180. Tiles whose bounds "
        "touch it are counted whole.",
    )
    first: Day | None = Field(
        default=None, alias="from", description="First day of computation, UTC."
    )
    last: Day | None = Field(default=None, alias="to", description="Last day, included.")
    scene: Reference | None = Field(default=None, description="A scene's key or id.")
    job: UUID | None = Field(default=None, description="What this job computed itself.")
    format: Literal["json", "csv"] = "json"


class SeriesQuery(ResultsQuery):
    """Which results to count, and by what."""

    by: Literal["day", "month"] = "day"


@router.get(
    "/classes",
    summary="Count classes that were found",
    response_model=Classes,
    responses=CSV,
)
def show_classes(
    query: Annotated[ResultsQuery, Query()],
    database: DatabasePart,
    analyst: AnalystPart,
    settings: SettingsPart,
) -> Classes | Response:
    """Tiles, chips or pixels, area and confidence by class, of completed runs. Each tile counts
    once, as it was computed last."""
    told = asked(query, "all", database, analyst, settings).classes()
    return as_csv(told, CLASS_COLUMNS) if query.format == "csv" else told


@router.get(
    "/series",
    summary="Count classes that were found, by day or month",
    response_model=Series,
    responses=CSV,
)
def show_series(
    query: Annotated[SeriesQuery, Query()],
    database: DatabasePart,
    analyst: AnalystPart,
    settings: SettingsPart,
) -> Series | Response:
    """The same by the day or month, UTC, in which the tiles were computed."""
    told = asked(query, query.by, database, analyst, settings).series(query.by)
    return as_csv(told, SERIES_COLUMNS) if query.format == "csv" else told


def asked(
    query: ResultsQuery, period: Period, database: Database, analyst: Analyst, settings: Settings
) -> Teller:
    """What is found. The database says which files may be read; none is open meanwhile."""
    if query.first is not None and query.last is not None and query.first > query.last:
        raise InvalidInput("from is after to", field="from")
    boxes = None if query.bbox is None else boxes_of(box_of(query.bbox))
    model, runs = readable(query, database)
    reference = model.card.reference
    files = [
        RunFile(run.id, run.scene_id, path_of(settings.lake_dir, reference, run)) for run in runs
    ]
    question = Question(period, model.card.dense, boxes, query.first, query.last)
    found = analyst.find(files, question)
    return Teller(model.card, found, sum(run.tiles_reused for run in runs))


def path_of(lake: Path, model: str, run: CompletedRun) -> Path:
    """Where the tiles of a run lie."""
    return files_of_run(lake, run_id=str(run.id), model=model, date=run.date).predictions


def readable(query: ResultsQuery, database: Database) -> tuple[Model, list[CompletedRun]]:
    """The model, and the runs of whoever asks that may hold what is asked for.

    Raises NotFound for a model, scene or job that is not there, or is another account's.
    """
    boxes = None if query.bbox is None else boxes_of(box_of(query.bbox))
    with database.transaction() as connection:
        model = models.find(connection, query.model)
        if not model.card.classes:
            raise InvalidInput(
                f"{model.card.reference} tells no classes; its results are in the lake",
                field="model",
            )
        wanted = Selection(
            model_id=model.id,
            scene_id=None if query.scene is None else scenes.find(connection, query.scene).id,
            job_id=None if query.job is None else jobs.find(connection, query.job).id,
            boxes=boxes,
            first=query.first,
        )
        runs = runs_of(connection, wanted, limit=MOST_RUNS + 1)
    if len(runs) > MOST_RUNS:
        raise InvalidInput(
            f"more than {MOST_RUNS} runs may hold this: ask for a scene, a job, a smaller bbox or "
            "a later day in from",
        )
    return model, runs


def as_csv(told: Classes | Series, columns: tuple[str, ...]) -> Response:
    """The rows of an answer."""
    headers = {"X-Missing-Runs": str(told.missing)}
    text = csv_of(columns, told.items)
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
