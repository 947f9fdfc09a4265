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


def parse_toml(text: str) -> dict[str, Any]:
    """Parses TOML text to a table.

    Raises `ValueError` if the text is not TOML, is nested too deeply, or has keys with too many parts.

    Examples:
        >>> parse_toml("a.b = [1, 2]")
        {'a': {'b': [1, 2]}}
    """
    if sum(line.count(".") ** 2 for line in text.split("\n")) > MOST_SQUARED_DOTS:
        raise ValueError("the lines contain too many dots; keys with thousands of parts are not supported")
    try:
        # This also raises `ValueError` for integers of thousands of digits, which Python refuses to convert.
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"nested too deeply; expected at most {MOST_DEPTH} levels of tables and lists") from None
    if _depth(table) > MOST_DEPTH:
        raise ValueError(f"nested too deeply; expected at most {MOST_DEPTH} levels of tables and lists")
    return table


def _depth(table: dict[str, Any]) -> int:
    """Returns the nesting depth of tables and lists, counted up to `MOST_DEPTH + 1`."""
    depth = 0
    nodes: list[Any] = [table]
    while nodes and depth <= MOST_DEPTH:
        depth += 1
        entries = (entry for node in nodes for entry in (node.values() if isinstance(node, dict) else node))
        nodes = [entry for entry in entries if isinstance(entry, dict | list)]
    return depth
