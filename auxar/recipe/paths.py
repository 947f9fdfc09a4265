"""The paths of images and of other runs in a recipe, which are relative to the recipe's folder.

These are `data.path` and the keys `init` and `data.path` of [training] and [training.factor.NAME]. Values of `--set`
are relative to the working directory. A loaded recipe has absolute paths, so that its run can be continued from any
working directory.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError, is_unicode, nearest_path, one_line
from auxar.recipe.model_names import names_model
from auxar.recipe.options import sets

EXTENSIONS = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Extensions of the image files that are read, in lowercase."""
RULE = "a path in a recipe is relative to the recipe's folder, and a path of --set to the working directory"


@attrs.frozen
class Places:
    """The folders that relative paths in a recipe start from."""

    folder: Path | None = None
    """Folder of the recipe. If it is None, because the recipe comes with auxar or belongs to a run, all paths are
    relative to the working directory."""
    settings: Sequence[str] = ()
    """The `key=value` strings that were applied to the recipe. Their paths are relative to the working directory."""

    def of(self, key: str) -> Path:
        """The folder that a path with this key is relative to."""
        return Path() if self.folder is None or sets(self.settings, key) else self.folder


def place_init(table: Mapping[str, Any], places: Places) -> None:
    """Makes the keys `init` of a recipe's table absolute, in place.

    Names of models that come trained stay as they are. Values that are no strings are left for the validation of the
    recipe. A path does not depend on whether the other run still exists: it is compared with the path in the run's
    recipe when the run is continued.
    """
    training = table.get("training")
    factors = training.get("factor") if isinstance(training, dict) else None
    own = {f"training.factor.{name}": node for name, node in factors.items()} if isinstance(factors, dict) else {}
    for path, node in {"training": training, **own}.items():
        init = node.get("init") if isinstance(node, dict) else None
        key = f"{path}.init"
        # A name may hold any characters, and be too long for a file.
        if isinstance(init, str) and init and not names_model(init, places.of(key)):
            node["init"] = full_path(init, places, key)


def full_path(path: str, places: Places, key: str) -> str:
    """The absolute path of the value of a key. Raises `UserError` if it is not valid UTF-8."""
    return _checked(os.path.abspath(places.of(key) / os.path.expanduser(path)), key)


def full_data_path(path: str, datasets: Collection[str], places: Places, key: str = "data.path") -> str:
    """The absolute path of the images that a key names. `datasets` are the names of registered data sets.

    A path is unchanged if it names a registered data set, begins with `~`, or may be a name on the Hugging Face hub,
    because there is no such file or folder. Raises `UserError` if the file or folder exists only relative to the
    other folder than `places` gives, or if the absolute path is not valid UTF-8, because recipes are written in UTF-8.
    """
    if path in datasets or path.startswith("~"):
        return path
    here, base = Path.cwd(), Path(os.path.abspath(places.of(key)))
    # Unlike `Path.exists`, `os.path.exists` raises no error for a path that may not be read. That is reported later.
    if os.path.exists(base / path):
        return _checked(os.path.realpath(base / path), key)
    for other in (here, Path(os.path.abspath(places.folder or here))):
        if os.path.exists(other / path):
            wanted = one_line(Path(os.path.relpath(other / path, base)).as_posix())
            advice = f'write path = "{wanted}" in the recipe, or add --set {key}={one_line(path)}'
            if sets(places.settings, key):
                advice = f"write --set {key}={wanted}"
            raise UserError(f"{key}: {one_line(path)} is not in {base}, but in {other}; {RULE}; {advice}")
    return _checked(os.path.abspath(base / path), key) if looks_local(path, base) else path


def local_path(path: str, datasets: Collection[str], key: str = "data.path") -> Path | None:
    """Returns the existing file or folder that a key names; None if it may be the name of a data set on the hub.

    `datasets` are the names of registered data sets. Raises `UserError` if the path is local and does not exist, or if
    it cannot be looked up.
    """
    try:
        file = Path(path).expanduser()
        exists = file.exists()
    except (OSError, RuntimeError) as error:  # A folder may not be entered, or a user's home folder is unknown.
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{key}: {one_line(path)} cannot be read: {reason}") from error
    if exists:
        check_kind(file, path, key)
        return file
    if looks_local(path):
        raise UserError(
            f"{key}: {one_line(path)} does not exist{nearest_path(file)}; expected a folder of images, a parquet "
            f"file, a name on the Hugging Face hub or a registered data set ({', '.join(sorted(datasets)) or 'none'}); "
            f"{RULE}"
        )
    return None


def check_kind(file: Path, where: str, key: str = "data.path") -> None:
    """Raises `UserError` if the images of a key, which a message names `where`, are a file, but no parquet file."""
    if not file.is_dir() and not (file.is_file() and file.suffix.lower() == ".parquet"):
        expected = "a folder of images or a .parquet file; `auxar.write_dataset` makes a folder of arrays"
        raise UserError(f"{key}: {one_line(where)} is a file; expected {expected}")


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


def _checked(path: str, key: str) -> str:
    if not is_unicode(path):
        raise UserError(f"{key}: the path {path!r} is not valid UTF-8, which recipes require; rename it")
    return path
