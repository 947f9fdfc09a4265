"""Finds the images or the parquet files in a folder and divides them into splits."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import datasets

from auxar.data.conditions import COLUMN, companion, label_of_folder
from auxar.errors import UserError
from auxar.files import is_file, read_bytes
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.paths import EXTENSIONS

CARDS = ("README.md", ".huggingface.yaml")
"""Names of the file in which a folder of parquet files can describe its splits, in the format of the hub."""
MOST_TEXT = 2**22
"""Maximum size of that file in bytes."""


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
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise UserError(f"data.path: the file name {str(file)!r} is not valid UTF-8; rename it") from None


def folder_splits(
    folder: Path, train: str, streaming: bool, condition: ConditionConfig | None = None
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Finds the splits of a folder of images.

    Returns three dictionaries by name of the split: the data sets, hashes of the file names and sizes (equal on every
    machine), and cache keys.

    If `folder` has a subfolder with the name that the argument `train` gives, each subfolder with images is a split,
    and images directly in `folder` are ignored. Otherwise all images below `folder` are one split, named "train".
    With a `condition`, there is a column with the path of each image's file with its condition, or with its label.

    Raises `UserError` if `folder` has no images, if a folder cannot be read, or if the name of a file is not valid
    UTF-8.
    """
    files = find_files(folder, EXTENSIONS)
    suffix = None if condition is None else condition.suffix
    if suffix is not None:
        files = [file for file in files if not file.name.endswith(suffix)]
    if not files:
        raise UserError(
            f"data.path: {folder} has no images; expected files that end in {', '.join(EXTENSIONS)} or .parquet"
        )
    check_names(files)
    if condition is not None and train in condition.names and condition.folders and os.path.isdir(folder / train):
        raise UserError(
            f"data.train: '{train}' is the training split, and also a class in condition.names, so the folder {train} "
            "is ambiguous; set data.train to a name that no folder has"
        )
    groups: dict[str, list[Path]] = {}
    if os.path.isdir(folder / train):  # `Path.is_dir` may raise an error if the folder may not be entered.
        for file in files:
            relative = file.relative_to(folder)
            if len(relative.parts) > 1:
                groups.setdefault(relative.parts[0], []).append(file)
    else:
        groups["train"] = files
    splits, identities, keys = {}, {}, {}
    for name, members in groups.items():
        names = [file.relative_to(folder).as_posix() for file in members]
        stamps = [_stamp(file) for file in members]
        sizes = [f"{name}:{size}" for name, (size, _) in zip(names, stamps, strict=True)]
        columns: dict[str, Any] = {"image": [str(file) for file in members]}
        types = datasets.Features({"image": datasets.Image(decode=False)})
        if suffix is not None:
            others = [companion(file, suffix) for file in members]
            stamps += [_stamp(file) for file in others]
            sizes += [f"{file.name}:{_stamp(file)[0]}" for file in others]
            columns[COLUMN] = [{"bytes": None, "path": str(file)} for file in others]
            types[COLUMN] = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
        elif condition is not None and condition.folders:
            columns[COLUMN] = [label_of_folder(file, folder, condition.names) for file in members]
            types[COLUMN] = datasets.Value("string")
        rows = datasets.Dataset.from_dict(columns, features=types)
        splits[name] = rows.to_iterable_dataset() if streaming else rows
        identities[name] = digest(*sizes)
        keys[name] = digest(str(folder), *sizes, *(state for _, state in stamps))
    return splits, identities, keys


def parquet_splits(folder: Path, files: Sequence[Path], config: str | None) -> dict[str, list[Path]]:
    """Divides the parquet files of a folder into splits, by their names or by the configuration `config` of its card.

    Raises `UserError` if the card cannot be read or names files outside the folder, or if the configuration does not
    exist or is invalid.
    """
    # `datasets` knows the rules, but reads the path of a folder as a pattern, which may match other folders. It gets
    # empty files of the same names in a temporary folder instead, whose path has no special characters.
    with tempfile.TemporaryDirectory() as name:
        twin = Path(name).resolve()
        for file in files:
            if "\n" in file.name:  # `datasets` would leave it out.
                raise UserError(f"data.path: the name of the parquet file {file} contains a line break; rename it")
            empty = twin / file.relative_to(folder)
            empty.parent.mkdir(parents=True, exist_ok=True)
            empty.touch()
        for card in filter(is_file, (folder / name for name in CARDS)):
            (twin / card.name).write_bytes(read_bytes(card, MOST_TEXT))
        try:
            splits = datasets.load_dataset_builder(str(twin), config).config.data_files
            found = {split: [Path(member).relative_to(twin) for member in members] for split, members in splits.items()}
        except Exception as error:  # Names and configurations that do not fit raise various exceptions.
            reason = str(error).replace(str(twin), str(folder)).strip().split("\n")[0]
            raise UserError(f"data.path: the splits of {folder} cannot be found: {reason}") from error
        return {split: [folder / member for member in members] for split, members in found.items()}


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
