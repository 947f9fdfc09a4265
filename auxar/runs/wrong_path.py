"""Messages about paths that are not the folder of a run, with the run or the model that was probably meant."""

import os
from pathlib import Path

from auxar.errors import UserError, did_you_mean, nearest_path, one_line
from auxar.files import FILE, is_file, kind
from auxar.recipe.model_names import RUNS, near_model
from auxar.runs.format import RECORD, check_format
from auxar.runs.layout import RunFolder

DEFAULT = Path(RUNS)
"""The folder in which `auxar run` makes runs unless it is given another one."""

MAKES = "; `auxar run RECIPE` makes a run"
"""The end of a message if no run is near the path."""


def check_is_run(path: Path) -> None:
    """Raises `UserError` unless `path` is a folder with a recipe and a run.json, of the format that this auxar reads.

    The message names a run near it. Raises `DamagedFile` if run.json is damaged.
    """
    run, found = RunFolder(path), kind(path, follow_links=True)
    if found is None:
        problem = "it does not exist"
    elif found == FILE:
        kinds = {".toml": "a recipe", ".safetensors": "a file of weights", ".html": "a report"}
        problem = f"it is {kinds.get(path.suffix.lower(), 'a file')}"
    elif not is_file(run.recipe):
        problem = "it has no recipe.toml"
    elif not run.made:
        problem = f"it has no {RECORD}"
    else:
        check_format(path)
        return
    name, near = one_line(str(path)), _missing(path) if found is None else _existing(path)
    raise UserError(f"{name} is not a run's folder: {problem}{near}")


def _missing(path: Path) -> str:
    """The end of a message about a path that does not exist."""
    if RunFolder(DEFAULT / path).made:
        return f"; did you mean '{one_line(str(DEFAULT / path))}'?"
    beside = _runs(path.parent)
    if near := near_model(Path(path.name), beside):
        return near
    return did_you_mean(path.name, beside) if beside else nearest_path(path) or MAKES


def _existing(path: Path) -> str:
    """The end of a message about a file or folder."""
    if inside := _runs(path):
        return f"; it contains the runs {', '.join(sorted(inside))}"
    # Folders above may be unreadable, which must not replace the message. `os.path.isfile` is False for them.
    if around := next((parent for parent in path.parents if os.path.isfile(parent / RECORD)), None):
        return f"; did you mean '{around}'?"
    if path.suffix.lower() == ".toml":
        return f"; `auxar run {path}` makes a run of it"
    beside = _runs(path.parent)
    return did_you_mean(path.name, beside) if beside and path.is_dir() else MAKES


def _runs(folder: Path) -> list[str]:
    """Names of the runs in a folder."""
    return [found.parent.name for found in folder.glob(f"*/{RECORD}")]
