"""Differences between two tables of plain values, such as two recipes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def differences(first: Any, second: Any, path: str = "", *, shared: bool = False) -> Iterator[tuple[str, Any, Any]]:
    """Yields the path and both values wherever two tables or lists differ, such as "stage[0].view.name".

    A missing value is None. With `shared`, keys of only one table are left out: they are options that a component has
    in one version and not in the other.

    Examples:
        >>> list(differences({"a": {"b": [1, 2]}, "c": 3}, {"a": {"b": [1, 4]}}))
        [('a.b[1]', 2, 4), ('c', 3, None)]
    """
    if isinstance(first, dict) and isinstance(second, dict):
        for key in [key for key in {**first, **second} if not shared or (key in first and key in second)]:
            place = f"{path}.{key}" if path else key
            yield from differences(first.get(key), second.get(key), place, shared=shared)
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for index, pair in enumerate(zip(first, second, strict=True)):
            yield from differences(*pair, f"{path}[{index}]", shared=shared)
    elif first != second:
        yield path, first, second
