"""Names of images in files, which become names of PNG files."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from auxar import UserError

MOST_NAME = 200
"""Maximum number of bytes of a name. File systems allow about 255, of which a temporary name takes some."""


def problem_of_name(name: str) -> str | None:
    r"""The reason why a name is not allowed in a file; None if it is allowed.

    Examples:
        >>> problem_of_name("a.png")
        >>> problem_of_name("a/b.png"), problem_of_name("..")
        ("it contains '/'", 'it is empty or stands for a folder')
    """
    if name in ("", ".", ".."):
        return "it is empty or stands for a folder"
    if found := re.search(r"[/\\\0]", name):
        return f"it contains {found[0]!r}"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return f"it has {size} bytes, and at most {MOST_NAME} are allowed" if size > MOST_NAME else None


def listed_names(names: Sequence[str]) -> str:
    """Names for a message, of which at most ten are named.

    Examples:
        >>> listed_names(["a", "b"]), listed_names("abcdefghijkl")
        ('a, b', 'a, b, c, d, e, f, g, h, i, j and 2 more')
    """
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


def png_name(name: str) -> str:
    """The name of the PNG file of an image.

    Examples:
        >>> png_name("a.png"), png_name("a.jpg")
        ('a.png', 'a.jpg.png')
    """
    return name if name.lower().endswith(".png") else f"{name}.png"


def check_names(names: Iterable[str], labels: Iterable[str]) -> None:
    """Raises `UserError` if the name of a picture is not allowed, or if two pictures would have the same PNG file.

    Names that are the same file on some file systems count as the same. `labels` stand for the pictures in messages.
    """
    known: dict[str, str] = {}
    for name, label in zip(names, labels, strict=True):
        if (problem := problem_of_name(name)) is not None:
            raise UserError(f"{label} cannot be compressed: the name of an image is kept, and {problem}")
        png = png_name(name)
        key = unicodedata.normalize("NFC", png).casefold()
        if key in known:
            advice = "give it once" if known[key] == label else "rename one, or take them one at a time"
            raise UserError(f"{known[key]} and {label} would be decompressed to the same file {png}; {advice}")
        known[key] = label
