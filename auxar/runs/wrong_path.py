"""Messages about paths that are not the folder of a run, with the run or the model that was probably meant."""

from __future__ import annotations

import os
from pathlib import Path

from auxar.errors import UserError, did_you_mean, one_line
from auxar.files import FILE, is_file, kind, nearest_path
from auxar.recipe.model_names import RUNS, near_model
from auxar.runs.format import RECORD
from auxar.runs.layout import RunFolder

DEFAULT = Path(RUNS)
"""The folder in which `auxar run` makes runs unless it is given another one."""

MAKES = "; `auxar run RECIPE` makes a run"
"""The end of a message if no run is near the path."""


def check_is_run(path: Path) -> None:
    """Raises `UserError` unless `path` is a folder with a recipe and a run.json. The message names a run near it."""
    found = kind(path, follow_links=True)
    name = one_line(str(path))
    if found == FILE:
        raise UserError(f"{name} is not a run's folder: {_about_file(path)}")
    if found is None:
        beside = _runs(path.parent)
        if RunFolder(DEFAULT / path).made:
            near = f"; did you mean '{one_line(str(DEFAULT / path))}'?"
        elif not (near := near_model(path, beside)):
            near = did_you_mean(path.name, beside) if beside else nearest_path(path) or MAKES
        raise UserError(f"{name} is not a run's folder: it does not exist{near}")
    run = RunFolder(path)
    for file, exists in (("recipe.toml", is_file(run.recipe)), (RECORD, run.made)):
        if not exists:
            raise UserError(f"{name} is not a run's folder: it has no {file}{_near_folder(path)}")


def _about_file(path: Path) -> str:
    kinds = {".toml": "a recipe", ".safetensors": "a file of weights", ".html": "a report"}
    about = f"it is {kinds.get(path.suffix.lower(), 'a file')}"
    if (around := _around(path)) is not None:
        return f"{about}; did you mean '{around}'?"
    return about + (f"; `auxar run {path}` makes a run of it" if path.suffix.lower() == ".toml" else MAKES)


def _near_folder(path: Path) -> str:
    if inside := _runs(path):
        return f"; it contains the runs {', '.join(sorted(inside))}"
    if (around := _around(path)) is not None:
        return f"; did you mean '{around}'?"
    beside = _runs(path.parent)
    return did_you_mean(path.name, beside) if beside else MAKES


def _around(path: Path) -> Path | None:
    """The folder of the run that contains `path`; None if it is not in a run."""
    # Folders above may be unreadable, which must not replace the message. `os.path.isfile` is False for them.
    return next((parent for parent in path.parents if os.path.isfile(parent / RECORD)), None)


def _runs(folder: Path) -> list[str]:
    """Names of the runs in a folder."""
    return [found.parent.name for found in folder.glob(f"*/{RECORD}")]
