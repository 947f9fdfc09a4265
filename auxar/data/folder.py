"""Folders of image files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import datasets

from auxar.errors import UserError

EXTENSIONS = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def digest(*parts: str) -> str:
    """A hash of a sequence of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def find_files(folder: Path, extensions: tuple[str, ...]) -> list[Path]:
    """All files below `folder` with one of the extensions, in the order of their relative paths; not hidden ones."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name) for name in files if name.lower().endswith(extensions) and not name.startswith(".")
        ]
    return sorted(found, key=lambda file: file.relative_to(folder).as_posix())


def folder_splits(folder: Path, train: str, streaming: bool) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """The splits of a folder of images, their identities and their cache keys.

    If `folder` has a folder named `train`, each of its folders is a split. Otherwise all images below it are one split
    named "train". Raises `UserError` if there are no images.
    """
    files = find_files(folder, EXTENSIONS)
    if not files:
        raise UserError(f"data.path: there are no images in {folder}; looked for {', '.join(EXTENSIONS)}, and .parquet")
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
    """Size and time of a file as text, which change with it; of a link that leads nowhere, empty."""
    try:
        found = file.stat()
    except OSError:
        return "", ""
    return str(found.st_size), str(found.st_mtime_ns)
