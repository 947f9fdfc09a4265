"""Finds and reads the image files that a user names by paths of files and folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from auxar.data.decoding import read_file
from auxar.errors import UserError, naming, nearest_path, one_line
from auxar.files import FOLDER, entries, is_file, kind
from auxar.recipe.paths import EXTENSIONS

Picture = bytes | Image.Image
"""The content of an image file, or a Pillow image."""


def image_files(paths: Sequence[Path], what: str) -> list[Path]:
    """The given files and, in place of each given folder, the image files in it, sorted by name.

    Raises `UserError`, which names the argument `what`, if there are no paths, if one does not exist or cannot be read,
    or if a folder has no image.
    """
    if not paths:
        raise UserError(f"{what}: expected at least one image file, or a folder of images")
    return [file for path in paths for file in images_at(path, what)]


def images_at(path: Path, what: str) -> list[Path]:
    """The path itself if it is a file, or the image files in a folder, sorted by name. Raises as `image_files` does."""
    with naming(what):
        if not (is_folder := kind(path, follow_links=True) == FOLDER) and is_file(path):
            return [path]
    if not is_folder:
        raise UserError(f"{what}: there is no file or folder {one_line(str(path))}{one_line(nearest_path(path))}")
    inside = [file for file in entries(path) if _is_named_image(file) and kind(file, follow_links=True) != FOLDER]
    if not inside:
        raise UserError(f"{what}: there is no image in the folder {path}; looked for {', '.join(EXTENSIONS)}")
    return inside


def picture_of(source: Path | Image.Image, what: str) -> tuple[Picture, str]:
    """The content of an image file, or a Pillow image as it is, and its name in messages.

    Raises `UserError`, beginning with `what`, if the file cannot be read.
    """
    if not isinstance(source, Path):
        return source, "the picture"
    name = one_line(str(source))
    try:
        return read_file(source), name
    except (OSError, ValueError) as error:
        raise UserError(f"{what}: {name} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _is_named_image(file: Path) -> bool:
    return file.name.lower().endswith(EXTENSIONS) and not file.name.startswith(".")
