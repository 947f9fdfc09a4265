"""Shards: the parts of a command's work that independent jobs do."""

from __future__ import annotations

import re
from typing import Any

import attrs

from auxar.arguments import as_integer, described
from auxar.errors import UserError

MOST_SHARDS = 100_000
"""Maximum number of shards."""


@attrs.frozen
class Shard:
    """One of several parts of a command's work. Each part is done by a job of its own.

    Examples:
        >>> shard = as_shard("2/7")
        >>> shard.number, shard.count, str(shard)
        (2, 7, '2/7')
    """

    number: int
    """Number of the shard, from 1."""
    count: int
    """Number of shards."""

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def file(self) -> str:
        """The shard as a part of the name of a file, such as `2-of-7`."""
        return f"{self.number}-of-{self.count}"


def as_shard(value: Any, name: str = "shard") -> Shard:
    """Converts an argument such as "2/7". Raises `UserError`, beginning with its `name`, if it is invalid."""
    if isinstance(value, Shard):
        return value
    match = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", value) if isinstance(value, str) else None
    if match is not None:
        found = Shard(*map(int, match.groups()))
        if 1 <= found.number <= found.count <= MOST_SHARDS:
            return found
    raise UserError(
        f"{name}: expected a number of a shard and the number of shards, such as 2/7, got {described(value)}"
    )


@attrs.frozen
class Division:
    """The arguments `shard` and `merge` of a command that can be divided into shards. At most one of them is set."""

    shard: Shard | None = None
    """The shard that the command works on."""
    merge: int | None = None
    """The number of shards whose results the command merges."""

    @classmethod
    def of(cls, shard: Any, merge: Any, processes: int) -> Division:
        """Converts the two arguments of a command that `processes` processes work on.

        Raises `UserError` if an argument is invalid, if both are set, or if several processes merge.
        """
        if shard is not None and merge is not None:
            raise UserError("shard: this cannot be combined with merge; shards are merged when all are done")
        if merge is not None:
            merge = as_integer(merge, "merge", 1, MOST_SHARDS)
            if processes > 1:
                raise UserError("merge: run this command in one process")
        return cls(None if shard is None else as_shard(shard), merge)
