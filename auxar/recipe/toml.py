"""Parses TOML with limits on time and memory."""

from __future__ import annotations

import tomllib
from typing import Any

MOST_SQUARED_DOTS = 10**7
"""Maximum of the squared number of dots in a line, summed over all lines.

Parsing a dotted key of n parts takes time and memory in proportion to n². The limit still allows lists of thousands of
decimal numbers in one line.
"""
MOST_DEPTH = 50
"""Maximum nesting depth of tables and lists."""


class LongInteger(ValueError):
    """The error for TOML with an integer of so many digits that Python refuses to convert it."""


def toml_text(content: bytes) -> str:
    """Decodes the content of a TOML file: UTF-8, with or without a byte order mark.

    Raises `ValueError` if it is not UTF-8.
    """
    # UTF-16 without a byte order mark can be decoded as UTF-8, and has a null character beside each ASCII letter.
    if b"\0" in content:
        raise ValueError("null characters")
    return content.decode("utf-8-sig")


def parse_toml(text: str) -> dict[str, Any]:
    """Parses TOML text to a table.

    Raises `ValueError` if the text is not TOML, is nested too deeply, or has keys with too many parts, and its subclass
    `LongInteger` if an integer has thousands of digits.

    Examples:
        >>> parse_toml("a.b = [1, 2]")
        {'a': {'b': [1, 2]}}
    """
    if sum(line.count(".") ** 2 for line in text.split("\n")) > MOST_SQUARED_DOTS:
        raise ValueError("the lines contain too many dots; keys with thousands of parts are not supported")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # The only other cause is the limit of `int`, whose message is meant for programmers.
        raise LongInteger("expected integers from -2^63 to 2^63 - 1, got one of thousands of digits") from None
    except RecursionError:
        raise ValueError(f"nested too deeply; expected at most {MOST_DEPTH} levels of tables and lists") from None
    if _depth(table) > MOST_DEPTH:
        raise ValueError(f"nested too deeply; expected at most {MOST_DEPTH} levels of tables and lists")
    return table


def toml_value(text: str) -> Any:
    """The value that a TOML text stands for. A text that is not a TOML value stands for itself, so that paths and names
    need no quotes.

    Raises `LongInteger` if it is an integer of thousands of digits.

    Examples:
        >>> toml_value("[1, 2]"), toml_value("runs/a")
        ([1, 2], 'runs/a')
    """
    return parse_toml(f"value = {text}")["value"] if is_value(text) else text


def is_value(text: str) -> bool:
    """Whether a text is a TOML value. Raises `LongInteger` if it is an integer of thousands of digits."""
    try:
        return len(parse_toml(f"value = {text}")) == 1
    except LongInteger:
        raise
    except ValueError:
        return False


def _depth(table: dict[str, Any]) -> int:
    """Returns the nesting depth of tables and lists, counted up to `MOST_DEPTH + 1`."""
    depth = 0
    nodes: list[Any] = [table]
    while nodes and depth <= MOST_DEPTH:
        depth += 1
        entries = (entry for node in nodes for entry in (node.values() if isinstance(node, dict) else node))
        nodes = [entry for entry in entries if isinstance(entry, dict | list)]
    return depth
