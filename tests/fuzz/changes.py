"""Random changes of bytes and of tables, which all fuzzing scripts share."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any


def change_bytes(random: Random, content: bytearray) -> None:
    """Changes, removes, repeats or inserts bytes at one place."""
    start = random.randrange(len(content) + 1)
    if random.random() < 0.5:
        start = min(start, random.randrange(1000))  # Headers are near the start of a file.
    stop = min(len(content), start + random.choice((1, 2, 8, 100, 10_000)))
    choice = random.randrange(7)
    if choice == 0 and start < len(content):
        content[start] ^= 1 << random.randrange(8)
    elif choice == 1:
        del content[start:stop]
    elif choice == 2:
        del content[start:]
    elif choice == 3:
        content[start:stop] = bytes(stop - start)
    elif choice == 4:
        content[start:start] = content[start:stop]
    elif choice == 5:
        content[start:start] = random.randbytes(random.choice((1, 8, 100)))
    else:
        content += random.randbytes(random.choice((1, 1000)))


def spliced(random: Random, content: bytes, other: bytes) -> bytes:
    """Returns the beginning of one file and the end of another one."""
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]


def paths_in(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the paths of all values in tables and lists."""
    if path:
        yield path
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, entry in entries:
        yield from paths_in(entry, (*path, key))


def random_place(random: Random, table: Any) -> tuple[Any, Any]:
    """Returns a table or list in `table`, and one of its keys. Raises `NotFitting` if all are empty."""
    paths = list(paths_in(table))
    if not paths:
        raise NotFitting
    *parents, key = random.choice(paths)
    for parent in parents:
        table = table[parent]
    return table, key


class NotFitting(Exception):
    """Raised if a file lacks the form that a change needs, such as JSON that an earlier change made invalid."""
