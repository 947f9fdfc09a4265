"""Checks of the arguments of public functions: paths, lists of strings, integers and flags."""

import operator
import os
import re
from pathlib import Path
from typing import Any

from auxar.errors import UserError, shown


def as_path(value: Any, name: str) -> Path:
    """Converts an argument to a path. Raises `UserError`, with the argument's `name`, if it is not a string or a path.

    Examples:
        >>> as_path("runs/quickstart", "path")
        PosixPath('runs/quickstart')
        >>> as_path(["runs/quickstart"], "path")
        Traceback (most recent call last):
        auxar.errors.UserError: path: expected a path (a string or a pathlib.Path), got ['runs/quickstart'] (list)
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise UserError(f"{name}: expected a path (a string or a pathlib.Path), got {described(value)}")
    if not text or "\0" in text:
        raise UserError(f"{name}: expected a path, got {shown(text)}")
    return Path(text)


def as_paths(values: Any, name: str) -> list[Path]:
    """Converts an argument to a list of paths. Raises `UserError` for a single path, and as `as_path` for an entry."""
    if isinstance(values, str | os.PathLike):
        text = shown(str(os.fspath(values)))
        raise UserError(f"{name}: expected a list of paths, got the single path {text}; write [{text}]")
    try:
        entries = list(values)
    except TypeError:  # Tensors and arrays without dimensions have a method to iterate, which fails.
        raise UserError(f"{name}: expected a list of paths, got {described(values)}") from None
    return [as_path(value, f"{name}[{number}]") for number, value in enumerate(entries)]


def image_size(value: str, name: str) -> tuple[int, int]:
    """The height and width in an argument such as "96x64". Raises `UserError` for any other form.

    Examples:
        >>> image_size("96x64", "size")
        (96, 64)
    """
    found = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", value) if isinstance(value, str) else None
    if found is None or 0 in map(int, found.groups()):
        raise UserError(f"{name}: expected HEIGHTxWIDTH, such as 96x64, got {shown(value)}")
    return int(found[1]), int(found[2])


def check_strings(values: Any, name: str, of: str) -> None:
    """Raises `UserError` unless an argument is a list or a tuple of strings. `of` says what the strings are.

    Examples:
        >>> check_strings("prior", "only", "names of factors")
        Traceback (most recent call last):
        auxar.errors.UserError: only: expected a list of names of factors, got the string 'prior'; write ['prior']
    """
    if isinstance(values, str):
        raise UserError(f"{name}: expected a list of {of}, got the string {shown(values)}; write {shown([values])}")
    if not isinstance(values, list | tuple):
        raise UserError(f"{name}: expected a list of {of}, got {described(values)}")
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise UserError(f"{name}[{number}]: expected a string, got {described(value)}")


def as_integer(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """Converts an argument to an integer, such as one of NumPy. `least` and `most` are its bounds, if they are given.

    Raises `UserError` if it is not an integer, if it is a boolean, or if it is out of range.

    Examples:
        >>> as_integer(4.0, "batch_size", 1)
        Traceback (most recent call last):
        auxar.errors.UserError: batch_size: expected an integer of at least 1, got 4.0 (float)
    """
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None or (least is not None and found < least) or (most is not None and found > most):
        limits = "" if least is None else f" of at least {least:,}" if most is None else f" from {least:,} to {most:,}"
        raise UserError(f"{name}: expected an integer{limits}, got {described(value)}")
    return found


def check_flag(value: Any, name: str) -> None:
    """Raises `UserError` unless an argument is True or False. The string "False" would count as true otherwise.

    Examples:
        >>> check_flag("False", "replace")
        Traceback (most recent call last):
        auxar.errors.UserError: replace: expected True or False, got 'False'
    """
    if not isinstance(value, bool):
        raise UserError(f"{name}: expected True or False, got {described(value)}")


def described(value: Any) -> str:
    """A short description of a value of a wrong type, for messages: the value, if it is short, and its type.

    Examples:
        >>> described("ab"), described(None), described({1: 2})
        ("'ab'", 'None', '{1: 2} (dict)')
    """
    if value is None or isinstance(value, str | bool):
        return shown(value)
    if isinstance(value, int | float | list | tuple | dict | set | bytes):
        return f"{shown(value)} ({type(value).__name__})"
    return f"an object of type {type(value).__name__}"  # Its representation may be long, as that of a tensor.
