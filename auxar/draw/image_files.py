"""Finds the image files that a user names by paths of files and folders."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from auxar.data.conversion import read_file
from auxar.errors import UserError, one_line
from auxar.files import FILE, FOLDER, entries, kind, nearest_path
from auxar.recipe.paths import EXTENSIONS


def image_files(paths: Sequence[Path], name: str) -> list[Path]:
    """The given files and, in place of each given folder, the image files in it, sorted by name.

    Raises `UserError`, beginning with the `name` of the argument, if there are no paths, if one does not exist or
    cannot be read, or if a folder has no image.
    """
    if not paths:
        raise UserError(f"{name}: expected at least one image file, or a folder of images")
    try:
        return [file for path in paths for file in images_at(path)]
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def images_at(path: Path) -> list[Path]:
    """The path itself if it is a file, or the image files in a folder, sorted by name.

    Raises `UserError` if there is nothing at the path, if it cannot be read, or if the folder has no image.
    """
    found = kind(path, follow_links=True)
    if found == FILE:
        return [path]
    if found != FOLDER:
        raise UserError(f"there is no file or folder {one_line(str(path))}{one_line(nearest_path(path))}")
    inside = [file for file in entries(path) if _is_named_image(file) and kind(file, follow_links=True) != FOLDER]
    if not inside:
        deeper = _folder_with_images(path)
        hint = f"; did you mean '{one_line(str(deeper))}'?" if deeper else ""
        raise UserError(f"there is no image in the folder {path}; looked for {', '.join(EXTENSIONS)}{hint}")
    return inside


def content_of(path: Path, label: str, advice: str = "") -> bytes:
    """The content of an image file. Raises `UserError`, from `label` to `advice`, if it cannot be read."""
    try:
        return read_file(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{label}: {one_line(str(path))} cannot be read: {reason}{advice}") from None


def _folder_with_images(path: Path) -> Path | None:
    """The first folder in a folder that has images; None if there is none that can be read."""
    for folder in entries(path):
        with contextlib.suppress(UserError):
            if kind(folder) == FOLDER and any(map(_is_named_image, entries(folder))):
                return folder
    return None


def _is_named_image(file: Path) -> bool:
    return file.name.lower().endswith(EXTENSIONS) and not file.name.startswith(".")
