"""The names of models that come trained, which commands and recipes accept in place of a run's folder.

Installed plugins provide these models. Plugin files of recipes cannot, because a command that opens a run has no recipe
yet.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path

from auxar.files import kind
from auxar.plugins import load_plugins

OF_RUNS = ("recipe.toml", "run.json")
"""Names of files by which a folder is recognized as that of a run."""


def is_model(path: Path, folder: Path = Path()) -> bool:
    """Whether a path is the name of a model that comes trained.

    A path relative to `folder` at which there is a run's folder is not: it means this run. Any other file or folder of
    this name makes no difference.
    """
    if path.is_absolute() or any(kind(folder / path / name) is not None for name in OF_RUNS):
        return False
    return path.as_posix() in load_plugins().names("model")


def near_model(path: Path, runs: Collection[str] = ()) -> str:
    """The end of a message about a path at which there is no run: the model that was probably meant.

    The result is empty if no model has a similar name, or if one of the `runs` has a name that is at least as similar.
    """
    models = load_plugins().names("model")
    near = difflib.get_close_matches(path.as_posix(), [*models, *runs], n=1, cutoff=0.6)
    if not near or near[0] in runs:
        return ""
    return f"; did you mean '{near[0]}'? (`auxar models` lists the models that come trained)"
