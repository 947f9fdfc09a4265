"""Names of images in files, which become names of PNG files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from auxar.errors import UserError, one_line

MOST_NAME = 200
"""Maximum number of bytes of a name. File systems allow about 255, of which a temporary name takes some."""


def problem_of_name(name: str) -> str | None:
    r"""The reason why a name is not allowed in a file; None if it is allowed.

    Examples:
        >>> problem_of_name("a.png")
        >>> problem_of_name("a/b.png"), problem_of_name("..")
        ("it contains '/'", 'it stands for a folder')
    """
    if name in ("", ".", ".."):
        return "it stands for a folder" if name else "it is empty"
    for separator in ("/", "\\", "\0"):
        if separator in name:
            return f"it contains {separator!r}"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return f"it has {size} bytes, and at most {MOST_NAME} are allowed" if size > MOST_NAME else None


def png_name(name: str) -> str:
    """The name of the PNG file of an image.

    Examples:
        >>> png_name("a.png"), png_name("a.jpg")
        ('a.png', 'a.jpg.png')
    """
    return name if name.lower().endswith(".png") else f"{name}.png"


def name_on_disk(name: str) -> str:
    """The name of an image's PNG file in a form that is equal for names that are the same file on some file systems.

    Examples:
        >>> name_on_disk("A.PNG") == name_on_disk("a.png"), name_on_disk("a.jpg") == name_on_disk("a.jpg.png")
        (True, True)
    """
    return unicodedata.normalize("NFC", png_name(name)).casefold()


def check_names(files: Iterable[Path]) -> None:
    """Raises `UserError` if the name of a picture is not allowed, or if two pictures would have the same PNG file."""
    known: dict[str, Path] = {}
    for file in files:
        if (problem := problem_of_name(file.name)) is not None:
            raise UserError(f"{one_line(str(file))} cannot be compressed: the name of an image is kept, and {problem}")
        other = known.setdefault(name_on_disk(file.name), file)
        if other is not file:
            raise UserError(
                f"{one_line(str(other))} and {one_line(str(file))} would be decompressed to the same file "
                f"{one_line(png_name(file.name))}; rename one of them"
            )
