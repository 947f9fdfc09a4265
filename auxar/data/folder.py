"""Finds the images in a folder and divides them into splits."""

import hashlib
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import attrs
import datasets

from auxar.data.conditions import COLUMN, companion, label_of_folder
from auxar.errors import UserError, is_unicode
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.paths import EXTENSIONS


@attrs.frozen
class OpenedSplit:
    """One split of a data set."""

    rows: Any
    """A `datasets.Dataset`, or an `IterableDataset` if the data is streamed."""
    identity: str
    """A text that identifies the images, equal on every machine."""
    cache_key: str
    """A text that identifies the images on this machine and changes when their files change. It is not used for
    streams."""


def digest(*parts: str) -> str:
    """Returns a hash of a sequence of strings: 32 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def find_files(folder: Path, extensions: tuple[str, ...]) -> list[Path]:
    """Returns all files below `folder` with one of the extensions (in any case), sorted by relative path.

    Hidden files and the contents of hidden folders are left out, and links to folders are not followed. Raises
    `UserError` if a folder cannot be read, because its files would be missing.
    """
    found = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name) for name in files if name.lower().endswith(extensions) and not name.startswith(".")
        ]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def _refuse(error: OSError) -> NoReturn:
    raise UserError(
        f"data.path: the folder {error.filename} cannot be read: {error.strerror}; make it readable, or move it away"
    ) from error


def check_names(files: Iterable[Path]) -> None:
    """Raises `UserError` if the path of a file is not valid UTF-8."""
    for file in files:
        if not is_unicode(str(file)):
            raise UserError(f"data.path: the file name {str(file)!r} is not valid UTF-8; rename it")


def folder_splits(
    folder: Path, train: str, streaming: bool, condition: ConditionConfig | None = None
) -> dict[str, OpenedSplit]:
    """Finds the splits of a folder of images, by name.

    If `folder` has a subfolder with the name that the argument `train` gives, each subfolder with images is a split,
    and images directly in `folder` are ignored. Otherwise all images below `folder` are one split, named "train".
    With a `condition`, there is a column with the path of each image's file with its condition, or with its label.

    Raises `UserError` if `folder` has no images, if a folder cannot be read, or if the name of a file is not valid
    UTF-8.
    """
    files = find_files(folder, EXTENSIONS)
    if condition is not None and condition.suffix is not None:
        files = [file for file in files if not file.name.endswith(condition.suffix)]
    if not files:
        raise UserError(
            f"data.path: {folder} has no images; expected files that end in {', '.join(EXTENSIONS)} or .parquet"
        )
    check_names(files)
    groups = {"train": files}
    if os.path.isdir(folder / train):  # `Path.is_dir` may raise an error if the folder may not be entered.
        if condition is not None and condition.folders and train in condition.names:
            raise UserError(
                f"data.train: '{train}' is the training split, and also a class in condition.names, so the folder "
                f"{train} is ambiguous; set data.train to a name that no folder has"
            )
        inside = (file for file in files if file.parent != folder)
        # The files of a subfolder follow each other, because the paths are sorted.
        members = itertools.groupby(inside, lambda file: file.relative_to(folder).parts[0])
        groups = {name: list(found) for name, found in members}
    return {name: _split(folder, members, streaming, condition) for name, members in groups.items()}


def _split(folder: Path, files: Sequence[Path], streaming: bool, condition: ConditionConfig | None) -> OpenedSplit:
    columns: dict[str, Any] = {"image": list(map(str, files))}
    types = datasets.Features({"image": datasets.Image(decode=False)})
    stamps = [(file.relative_to(folder).as_posix(), _stamp(file)) for file in files]
    if condition is not None and condition.suffix is not None:
        others = [companion(file, condition.suffix) for file in files]
        stamps += [(file.name, _stamp(file)) for file in others]
        columns[COLUMN] = [{"bytes": None, "path": str(file)} for file in others]
        types[COLUMN] = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    elif condition is not None and condition.folders:
        columns[COLUMN] = [label_of_folder(file, folder, condition.names) for file in files]
        types[COLUMN] = datasets.Value("string")
    rows = datasets.Dataset.from_dict(columns, features=types)
    sizes = [f"{name}:{size}" for name, (size, _) in stamps]
    key = digest(str(folder), *sizes, *(state for _, (_, state) in stamps))
    return OpenedSplit(rows.to_iterable_dataset() if streaming else rows, digest(*sizes), key)


def _stamp(file: Path) -> tuple[str, str]:
    """Returns the size of a file, and a text that changes when its content does. Both are empty if it cannot be read.

    A program can restore the modification time, but not the time of the last change of the file's status. The inode
    tells files apart that were written at the same time. The device is left out, because the number of a network file
    system differs between machines and between mounts, and the cache may be shared.
    """
    try:
        found = file.stat()
    except OSError:
        return "", ""
    return str(found.st_size), f"{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"
