"""Parses TOML."""

from __future__ import annotations

import tomllib
from typing import Any


def parse_toml(text: str) -> dict[str, Any]:
    """Parses TOML text to a table. Raises `ValueError` if the text is not TOML, or is nested too deeply.

    Examples:
        >>> parse_toml("a.b = [1, 2]")
        {'a': {'b': [1, 2]}}
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def toml_value(text: str) -> Any:
    """The value that a TOML text stands for. A text that is not a TOML value stands for itself, so that paths and names
    need no quotes.

    Examples:
        >>> toml_value("[1, 2]"), toml_value("runs/a")
        ([1, 2], 'runs/a')
    """
    return parse_toml(f"value = {text}")["value"] if is_value(text) else text


def is_value(text: str) -> bool:
    """Whether a text is a TOML value."""
    try:
        return len(parse_toml(f"value = {text}")) == 1
    except ValueError:
        return False
