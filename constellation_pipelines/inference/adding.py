"""Taking a package into the models folder: checked first, then there all at once."""

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from constellation_pipelines.domain.errors import Conflict, ModelRefused, NotFound
from constellation_pipelines.domain.model import Model
from constellation_pipelines.domain.names import identifier
from constellation_pipelines.inference.package import CARD_FILE, load_package
from constellation_pipelines.inference.trial import Trial, try_package

DRAFT = ".adding-"  # discovery looks at <name>/<version>, so what is being added is not seen

Try = Callable[[Path], Trial]


@dataclass(frozen=True, slots=True)
class Checked:
    """A package that is in order, and what its dry run found."""

    model: Model
    trial: Trial


def check_package(folder: Path, attempt: Try = try_package) -> Checked:
    """Look through a package and run it dry; nothing is changed. Raises ModelRefused, NotFound."""
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder: a model package is a folder with {CARD_FILE} in it")
    return Checked(load_package(folder), attempt(folder))


def add_package(folder: Path, models_dir: Path, attempt: Try = try_package) -> Checked:
    """Copy a package to <models_dir>/<name>/<version>/ once all checks have passed.

    What is checked is the copy, so nobody can change it in between; the copy becomes visible in one
    step. Card and weights are copied, nothing else. Raises Conflict where that version is another
    package, or the name can be taken for that of another model; nothing is left behind then.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder: a model package is a folder with {CARD_FILE} in it")
    card = load_package(folder).card
    check_name(models_dir, card.name)
    target = models_dir / card.name / card.version
    draft = models_dir / f"{DRAFT}{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        for name in (CARD_FILE, card.weights_file):
            shutil.copyfile(folder / name, draft / name)
        checked = check_package(draft, attempt)
        place(draft, target, checked.model)
    except OSError as error:
        raise ModelRefused(f"the package cannot be copied to {models_dir}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Checked(load_package(target), checked.trial)


def check_name(models_dir: Path, name: str) -> None:
    """Raises Conflict where another model's assets would have the same names."""
    for other in models_dir.glob("[!.]*"):
        if other.is_dir() and other.name != name and identifier(other.name) == identifier(name):
            raise Conflict(
                f"the model {other.name} is there already, and Dagster cannot tell {name} from it: "
                "choose another name",
                field="properties.mlm:name",
            )


def place(draft: Path, target: Path, model: Model) -> None:
    """Move the draft to its place. The same package again is no fault; another is a Conflict."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(draft, target)  # refused where something is there
    except OSError as error:
        if not target.is_dir():
            raise
        if digest_of(target) != model.digest:
            raise Conflict(
                f"{model.card.reference} is there already and is another package: give this one "
                "another version",
                field="properties.version",
            ) from error


def digest_of(folder: Path) -> str | None:
    """The digest of the package in a folder, None where there is none in order."""
    try:
        return load_package(folder).digest
    except ModelRefused:
        return None
