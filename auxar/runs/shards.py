"""Files in which the shards of a command store their results until they are merged."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from auxar.distributed.processes import Processes
from auxar.distributed.shards import Shard
from auxar.errors import UserError, one_line, shown
from auxar.files import DamagedFile, Shapes, is_file, parse_json, read_tensors, remove, unfinished, write_tensors
from auxar.locks import note_of
from auxar.runs.lock import holding_for_all

logger = logging.getLogger("auxar")

WORK, SHARD = "work", "shard"
"""Metadata keys: the facts that identify the work, as JSON, and the shard."""
MOST_NAMED = 8
"""Maximum number of missing shards that a message names."""


class OtherWork(UserError):
    """The error for a file of a shard of other work, for example with other weights."""


def holding_shard(
    folder: Path, name: str, shard: Shard, processes: Processes, check: Callable[[Path], None]
) -> AbstractContextManager[None]:
    """Holds the lock of one shard for the processes of a command, as `holding_for_all` does for a folder.

    Other shards can be held at the same time. `name` is that of the work, as in `ShardFiles`.
    """
    return holding_for_all(folder, processes, check, _lock(name, shard), f"the shard {shard} in {folder}")


def work_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `facts`, and the version of auxar, that all shards of the same work must have in common.

    The path of the run and the number of workers, which change no result, are left out.
    """
    work = {key: value for key, value in facts.items() if key not in ("the run", "data.workers")}
    return {"the version of auxar": importlib.metadata.version("auxar"), **work}


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they are after they were written as JSON and read again."""
    found: dict[str, Any] = json.loads(json.dumps(facts))
    return found


def _lock(name: str, shard: Shard) -> str:
    return f".{name}-{shard.file}.lock"


@attrs.frozen
class ShardFiles:
    """The files in which the shards of one piece of work store their results until they are merged.

    A file holds tensors. Its metadata says which work and which shard it belongs to.
    """

    folder: Path
    """The folder of the files."""
    name: str
    """Beginning of the files' names, such as `evaluation`."""
    command: str
    """The command that works on a shard, for messages, without `--shard`."""
    work: Mapping[str, Any] = attrs.field(converter=_plain)
    """Values by name, as JSON has them, that are equal in all shards of the same work."""

    def path(self, shard: Shard) -> Path:
        """The file of a shard, such as `evaluation-2-of-7.safetensors`."""
        return self.folder / f"{self.name}-{shard.file}.safetensors"

    def done(self, shard: Shard) -> dict[str, Tensor] | None:
        """Reads the tensors of a shard. None unless its file exists, is whole and belongs to this work.

        Other results of shards will be replaced, which is logged. Raises `UserError` if the file is no result of a
        shard, and must not be replaced.
        """
        if not is_file(self.path(shard)):
            return None
        try:
            return self._read(shard)[0]
        except (DamagedFile, OtherWork) as error:
            logger.warning("%s; the shard %s is computed again", error, shard)
            return None

    def write(self, shard: Shard, tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> None:
        """Writes the results of a shard, whose lock this process holds. `facts` are further entries of the metadata."""
        path = self.path(shard)
        write_tensors(path, tensors, {**(facts or {}), WORK: json.dumps(self.work, sort_keys=True), SHARD: str(shard)})
        for left in unfinished(self.folder, [path.name]):
            remove(left)

    def read(self, count: int) -> list[tuple[dict[str, Tensor], dict[str, str]]]:
        """Reads the tensors and the metadata of all of `count` shards, in the order of their numbers.

        Raises `UserError` if a shard is missing or belongs to other work, and `DamagedFile` if its file is damaged.
        """
        shards = [Shard(number, count) for number in range(1, count + 1)]
        missing = [shard for shard in shards if not is_file(self.path(shard))]
        if missing:
            names = ", ".join(map(str, missing[:MOST_NAMED])) + (", …" if len(missing) > MOST_NAMED else "")
            raise UserError(
                f"{self.folder}: {len(missing)} of {count} shards are missing: {names}; make them with "
                f"`{self.command_of(missing[0])}`, once for each, and otherwise the same options"
            )
        found = []
        for shard in shards:
            try:
                found.append(self._read(shard))
            except (DamagedFile, OtherWork) as error:
                raise type(error)(f"{error}; make it again with `{self.command_of(shard)}`") from None
        return found

    def remove(self, count: int) -> None:
        """Removes the files and the locks of all of `count` shards, and the folder if it is then empty."""
        shards = [Shard(number, count) for number in range(1, count + 1)]
        paths = [self.path(shard) for shard in shards]
        locks = [self.folder / _lock(self.name, shard) for shard in shards]
        for path in (*paths, *unfinished(self.folder, {path.name for path in paths}), *locks, *map(note_of, locks)):
            remove(path)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def command_of(self, shard: Shard) -> str:
        """The command that works on a shard, apart from options that are common to all shards."""
        return f"{self.command} --shard {shard}"

    def _read(self, shard: Shard) -> tuple[dict[str, Tensor], dict[str, str]]:
        path = self.path(shard)

        def check(_: Shapes, metadata: Mapping[str, str]) -> None:
            try:
                work = parse_json(metadata[WORK])
                own = metadata[SHARD]
            except (KeyError, ValueError):
                raise UserError(f"{path} is not the result of a shard; move it to another folder") from None
            for difference in differences(work, self.work):
                raise OtherWork(f"{path} belongs to other work: {difference}")
            if own != str(shard):
                raise OtherWork(
                    f"{path} is the result of the shard {one_line(own, 20)}; expected that of the shard {shard}"
                )

        return read_tensors(path, check)


def differences(found: Any, expected: Mapping[str, Any]) -> Iterator[str]:
    """Yields a description of each value that differs."""
    if not isinstance(found, dict):
        yield "its description is not a table"
        return
    for key in {**expected, **found}:
        if key not in found or key not in expected or found[key] != expected[key]:
            there, here = (shown(facts[key]) if key in facts else "nothing" for facts in (found, expected))
            yield f"{one_line(key, 100)} is {there} there, and {here} in this command"
