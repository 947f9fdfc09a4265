"""The paths of images and of other runs in a recipe, which are relative to the recipe's folder.

These are `data.path` and the keys `init` of [training] and [training.factor.NAME]. Values of `--set` are relative to
the working directory. A loaded recipe has absolute paths, so that its run can be continued from any working directory.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError, is_unicode, one_line
from auxar.files import nearest_path
from auxar.recipe.model_names import names_model
from auxar.recipe.options import sets
from auxar.recipe.schema import Recipe, TrainingConfig

EXTENSIONS = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Extensions of the image files that are read, in lowercase."""
RULE = "a path in a recipe is relative to the recipe's folder, and a path of --set to the working directory"


def place_init(table: Mapping[str, Any], folder: Path) -> None:
    """Makes the keys `init` of a recipe's table absolute, in place. They are relative to `folder`.

    Names of models that come trained stay as they are. Values that are no strings are left for the validation of the
    recipe.
    """
    training = table.get("training")
    factors = training.get("factor") if isinstance(training, dict) else None
    for node in (training, *(factors.values() if isinstance(factors, dict) else ())):
        if isinstance(node, dict) and isinstance(node.get("init"), str) and node["init"]:
            node["init"] = _full_init(node["init"], folder)


def with_full_paths(recipe: Recipe, datasets: Collection[str], folder: Path | None, settings: Sequence[str]) -> Recipe:
    """Returns the recipe with absolute paths.

    `datasets` are the names of registered data sets. `folder` is the folder of the recipe. If it is None, because the
    recipe comes with auxar or belongs to a run, paths are relative to the working directory. `settings` are the
    `key=value` strings that were applied to the recipe.

    `data.path` is unchanged if it names a registered data set, begins with `~`, or may be a name on the Hugging Face
    hub, because there is no such file or folder. Raises `UserError` if the file or folder exists only relative to the
    other of the two folders, or if an absolute path is not valid UTF-8, because recipes are written in UTF-8.
    """
    full = _full_data_path(recipe.data.path, datasets, folder, is_set=sets_images(settings))
    return attrs.evolve(
        recipe,
        data=attrs.evolve(recipe.data, path=_checked(full, "data.path")),
        training=_with_full_init(recipe.training, "training"),
        factor_training={
            name: _with_full_init(config, f"training.factor.{name}") for name, config in recipe.factor_training.items()
        },
    )


def sets_images(settings: Sequence[str]) -> bool:
    """Whether one of the `key=value` settings sets `data.path`, alone or with the whole table [data]."""
    return sets(settings, "data.path") or sets(settings, "data")


def _full_data_path(path: str, datasets: Collection[str], folder: Path | None, *, is_set: bool) -> str:
    if path in datasets or path.startswith("~"):
        return path
    here = Path.cwd()
    base = here if is_set or folder is None else Path(os.path.abspath(folder))
    # Unlike `Path.exists`, `os.path.exists` raises no error for a path that may not be read. That is reported later.
    if os.path.exists(base / path):
        return os.path.realpath(base / path)
    other = base if folder is None else Path(os.path.abspath(folder)) if is_set else here
    if os.path.exists(other / path):
        wanted = Path(os.path.relpath(other / path, base)).as_posix()
        found = f"data.path: {one_line(path)} is not in {base}, but in {other}; {RULE}; "
        if is_set:
            raise UserError(f"{found}write --set data.path={one_line(wanted)}")
        raise UserError(
            f'{found}write path = "{one_line(wanted)}" in the recipe, or add --set data.path={one_line(path)}'
        )
    return os.path.abspath(base / path) if looks_local(path, base) else path


def local_path(path: str, datasets: Collection[str]) -> Path | None:
    """Returns the existing file or folder that `data.path` names; None if it may be the name of a data set on the hub.

    `datasets` are the names of registered data sets. Raises `UserError` if the path is local and does not exist, or if
    it cannot be looked up.
    """
    try:
        file = Path(path).expanduser()
        exists = file.exists()
    except (OSError, RuntimeError) as error:  # A folder may not be entered, or a user's home folder is unknown.
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"data.path: {one_line(path)} cannot be read: {reason}") from error
    if exists:
        return file
    if looks_local(path):
        raise UserError(
            f"data.path: {one_line(path)} does not exist{nearest_path(file)}; expected a folder of images, a parquet "
            f"file, a name on the Hugging Face hub or a registered data set ({', '.join(sorted(datasets)) or 'none'}); "
            f"{RULE}"
        )
    return None


def looks_local(path: str, folder: Path = Path()) -> bool:
    """Whether a path is a file or folder rather than a data set on the hub, by its form or because its parent exists.

    If it is not absolute, it is relative to `folder`.
    """
    file = Path(path)
    return (
        file.is_absolute()
        or path.startswith((".", "~"))
        or path.endswith("/")
        or "\\" in path
        or path.count("/") > 1
        or file.suffix.lower() in (".parquet", ".zip", *EXTENSIONS)
        or ("/" in path and os.path.isdir((folder / file).parent))
    )


def _with_full_init(config: TrainingConfig, key: str) -> TrainingConfig:
    # A path does not depend on whether the other run still exists: it is compared with the path in the run's recipe
    # when the run is continued.
    if config.init is None:
        return config
    return attrs.evolve(config, init=_checked(_full_init(config.init, Path()), f"{key}.init"))


def _full_init(init: str, folder: Path) -> str:
    # A name may hold any characters, and be too long for a file.
    return init if names_model(init, folder) else _full(init, folder)


def _full(path: str, folder: Path) -> str:
    return os.path.abspath(folder / os.path.expanduser(path))


def _checked(path: str, key: str) -> str:
    if not is_unicode(path):
        raise UserError(f"{key}: the path {path!r} is not valid UTF-8, which recipes require; rename it")
    return path
