"""The names of models, which commands and recipes accept in place of a run's folder.

Installed plugins provide models that come trained. Plugin files of recipes cannot, because a command that opens a run
has no recipe yet. Models on the Hugging Face hub have names with a slash, such as `user/name`.
"""

import difflib
import os
import re
from collections.abc import Collection
from pathlib import Path

from auxar.files import entries, kind
from auxar.plugins import load_plugins

RUNS = "runs"
"""The folder in which `auxar run` makes runs unless it is given another one."""
OF_RUNS = "run.json"
"""Name of the file by which a folder is recognized as that of a run."""
HUB = "hf://"
"""The beginning of a name that is certainly that of a model on the hub."""
HUB_NAME = re.compile(r"(hf:/{1,2})?(\w[\w.-]*)/(\w[\w.-]*)(?:@(\S+))?", re.ASCII)
"""The name of a model on the hub: `user/name` or, with a branch, tag or commit, `user/name@revision`, also with `HUB`,
of which paths keep one slash."""


def is_model(path: Path, folder: Path = Path()) -> bool:
    """Whether a path is the name of a model that comes trained.

    A path relative to `folder` at which there is a run's folder is not: it means this run. Any other file or folder of
    this name makes no difference.
    """
    if path.is_absolute() or kind(folder / path / OF_RUNS) is not None:
        return False
    return path.as_posix() in load_plugins().names("model")


def hub_name(path: Path) -> tuple[str, str | None] | None:
    """The repository and the revision, or None, if a path is the name of a model on the Hugging Face hub.

    A name that begins with `HUB` always is. Any other one is not if it or its first part is a file or folder, or the
    folder of runs: it then is a path. It is not, either, if there is a run in a folder with a similar name, such as
    runs/first for run/first.
    """
    found = HUB_NAME.fullmatch(path.as_posix())
    if found is None:
        return None
    explicit, user, name, revision = found.groups()
    if not explicit:
        if user == RUNS or os.path.lexists(user):
            return None
        others = [entry.name for entry in entries(Path())]
        for near in difflib.get_close_matches(user, others, n=3, cutoff=0.7):
            if kind(Path(near, name, OF_RUNS)) is not None:
                return None
    return f"{user}/{name}", revision


def names_model(init: str, folder: Path = Path()) -> bool:
    """Whether the key `init` of a recipe in `folder` is the name of a model and no path.

    The name of a model on the hub must begin with `HUB` there, so that its meaning does not depend on folders.
    """
    return init.startswith(HUB) or is_model(Path(init), folder)


def near_model(path: Path, runs: Collection[str] = ()) -> str:
    """The end of a message about a path at which there is no run: the model that was probably meant.

    The result is empty if no model has a similar name, or if one of the `runs` has a name that is at least as similar.
    """
    models = load_plugins().names("model")
    near = difflib.get_close_matches(path.as_posix(), [*models, *runs], n=1, cutoff=0.6)
    if not near or near[0] in runs:
        return ""
    return f"; did you mean '{near[0]}'? (`auxar models` lists the models that come trained)"
