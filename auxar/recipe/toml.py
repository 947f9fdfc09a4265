"""TOML to tables, with an end to what it may cost."""

from __future__ import annotations

import tomllib
from typing import Any

# A key of n parts takes time and memory of n². Numbers in lists have dots too, thousands of them are fine.
MOST_SQUARED_DOTS = 10**7
MOST_DEPTH = 50


def parse_toml(text: str) -> dict[str, Any]:
    """The table that a text writes. Raises `ValueError` for what is not TOML, or too deep, or keys of too many parts.

    Examples:
        >>> parse_toml("a.b = [1, 2]")
        {'a': {'b': [1, 2]}}
    """
    if sum(line.count(".") ** 2 for line in text.split("\n")) > MOST_SQUARED_DOTS:
        raise ValueError("keys of too many parts: thousands of dots in a line")
    try:
        # The error may be Python's own, which has a limit for numbers of thousands of digits.
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _depth(table) > MOST_DEPTH:
        raise ValueError("nested too deeply")
    return table


def _depth(table: dict[str, Any]) -> int:
    """How many tables and lists are in one another, as far as it matters."""
    depth = 0
    nodes: list[Any] = [table]
    while nodes and depth <= MOST_DEPTH:
        depth += 1
        entries = (entry for node in nodes for entry in (node.values() if isinstance(node, dict) else node))
        nodes = [entry for entry in entries if isinstance(entry, dict | list)]
    return depth
