"""Finds the image files in a folder and divides them into splits."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import datasets

from auxar.errors import UserError

EXTENSIONS = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Extensions of the image files that are read, in lowercase."""


def digest(*parts: str) -> str:
    """Returns a hash of a sequence of strings: 32 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def find_files(folder: Path, extensions: tuple[str, ...]) -> list[Path]:
    """Returns all files below `folder` with one of the extensions (in any case), sorted by relative path.

    Hidden files and the contents of hidden folders are left out.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name) for name in files if name.lower().endswith(extensions) and not name.startswith(".")
        ]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def folder_splits(folder: Path, train: str, streaming: bool) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Finds the splits of a folder of images.

    Returns three dictionaries by name of the split: the data sets, hashes of the file names and sizes (equal on every
    machine), and cache keys.

    If `folder` has a subfolder with the name that the argument `train` gives, each subfolder with images is a split,
    and images directly in `folder` are ignored. Otherwise all images below `folder` are one split, named "train".

    Raises `UserError` if `folder` has no images or if the name of a file is not valid UTF-8.
    """
    files = find_files(folder, EXTENSIONS)
    if not files:
        raise UserError(
            f"data.path: {folder} has no images; expected files that end in {', '.join(EXTENSIONS)} or .parquet"
        )
    for file in files:
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise UserError(f"data.path: the file name {str(file)!r} is not valid UTF-8; rename it") from None
    groups: dict[str, list[Path]] = {}
    if (folder / train).is_dir():
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
        types = datasets.Features({"image": datasets.Image(decode=False)})
        rows = datasets.Dataset.from_dict({"image": [str(file) for file in members]}, features=types)
        splits[name] = rows.to_iterable_dataset() if streaming else rows
        identities[name] = digest(*sizes)
        keys[name] = digest(str(folder), *sizes, *(time for _, time in stamps))
    return splits, identities, keys


def _stamp(file: Path) -> tuple[str, str]:
    """Returns the size and modification time of a file as text; both are empty if the file cannot be read."""
    try:
        found = file.stat()
    except OSError:
        return "", ""
    return str(found.st_size), str(found.st_mtime_ns)
