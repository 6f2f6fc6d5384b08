"""Which files a model's runs leave behind, by the names that they have everywhere."""

from pathlib import Path

from constellation_pipelines.domain.model import ModelCard, Task
from constellation_pipelines.inference.work_raster import Product
from constellation_pipelines.lake.files import RunFiles

NAMES = {Product.CLASS: "classes", Product.SCORE: "scores", Product.VALUE: "values"}


def products_of(card: ModelCard, files: RunFiles) -> dict[str, Path]:
    """The files that hold what such a model finds, by name."""
    if card.task is Task.REGRESSION:
        return {"values": files.values}
    if card.task is Task.EMBEDDING:
        return {"embeddings": files.embeddings}
    products = {"classes": files.classes}
    if card.scores:
        products["scores"] = files.scores
    if card.vectors is not None:
        products["vectors"] = files.vectors
    return products


def are_there(card: ModelCard, files: RunFiles) -> bool:
    """Whether a run has every product of its model."""
    return all(path.exists() for path in products_of(card, files).values())


def existing(card: ModelCard, files: RunFiles) -> dict[str, str | None]:
    """Paths of a run's outputs by name, None where there was nothing to write."""
    also = {"preview": files.preview, "item": files.item}
    found = {"predictions": files.predictions} | products_of(card, files) | also
    return {name: str(path) if path.exists() else None for name, path in found.items()}
