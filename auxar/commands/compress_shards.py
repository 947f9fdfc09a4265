"""Compressing pictures in shards: each writes a file with a part of the pictures, and all of these files are merged.

The file of a shard is a file like any other. A picture's bytes depend on the picture and the model alone, so the merged
file has the same bytes as the file of a single command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from auxar.coding.archive import checksum_of
from auxar.coding.container import Container, Header, read_container, write_container
from auxar.coding.index import Entry
from auxar.coding.pictures import Picture
from auxar.distributed.shards import Shard
from auxar.errors import UserError, shown
from auxar.files import DamagedFile, kind, remove

AGAIN = "delete it, and compress its pictures again"


def part_of(shard: Shard, pictures: int) -> range:
    """The numbers of a shard's pictures. Raises `UserError` if there are more shards than pictures."""
    if shard.count > pictures:
        raise UserError(f"expected at most one shard for each of the {pictures} pictures, got {shard.count} shards")
    first, last = (pictures * number // shard.count for number in (shard.number - 1, shard.number))
    return range(first, last)


def path_of(shard: Shard, out: Path) -> Path:
    """The file of a shard, such as `out-2-of-7.auxar` for `out.auxar`."""
    return out.with_name(f"{out.stem}-{shard.file}{out.suffix}")


def is_compressed(
    path: Path,
    header: Header,
    names: Sequence[str],
    conditions: Sequence[tuple[int, ...]] | None,
    pictures: Callable[[int], Picture],
) -> bool:
    """Whether there is a whole file with this header and exactly these pictures, given these conditions.

    `pictures` returns the picture with a number.
    """
    if kind(path, follow_links=True) is None:
        return False
    try:
        _records(read_container(path), header, names, conditions, pictures, range(len(names)))
    except UserError:
        return False
    return True


def merge_compressed(
    out: Path,
    header: Header,
    names: Sequence[str],
    conditions: Sequence[tuple[int, ...]] | None,
    pictures: Callable[[int], Picture],
    count: int,
    command: str,
) -> list[Entry]:
    """Writes the file `out` from those of all of `count` shards, which are then removed. Returns its index.

    `names` and `conditions` are those of all pictures, which `pictures` returns by number, and `command` is the command
    that compresses them, for messages. Raises `UserError` if the file of a shard is missing, damaged, or of other
    pictures or models.
    """
    shards = [Shard(number + 1, count) for number in range(count)]
    paths = [path_of(shard, out) for shard in shards]
    missing = [shard for shard, path in zip(shards, paths, strict=True) if kind(path, follow_links=True) is None]
    if missing:
        raise UserError(
            f"{path_of(missing[0], out)} is missing ({len(missing)} of {count} shards are); make it with `{command} "
            f"--shard {missing[0]}` and otherwise the same arguments"
        )
    entries: list[Entry] = []
    records: list[bytes] = []
    for shard, path in zip(shards, paths, strict=True):
        container, part = read_container(path), part_of(shard, len(names))
        own = [names[number] for number in part]
        given = None if conditions is None else [conditions[number] for number in part]
        records += _records(container, header, own, given, pictures, part)
        entries += container.entries
    write_container(out, header, entries, records)
    for path in paths:
        remove(path)
    return entries


def _records(
    container: Container,
    header: Header,
    names: Sequence[str],
    conditions: Sequence[tuple[int, ...]] | None,
    pictures: Callable[[int], Picture],
    numbers: range,
) -> list[bytes]:
    """The records of a file. Raises `UserError` unless it has this header, and exactly these pictures with their names.

    The streams are not decoded. The checksums of the pictures' values are compared with those of the pictures.
    """
    path = container.path
    if container.header != header:
        raise UserError(f"{path} was made with another model; {AGAIN}")
    if [entry.name for entry in container.entries] != list(names):
        raise UserError(f"{path} has other pictures than this shard; {AGAIN}")
    if [entry.condition for entry in container.entries] != list(conditions or [()] * len(names)):
        raise UserError(f"{path} has pictures given other conditions; {AGAIN}")
    for entry, number in zip(container.entries, numbers, strict=True):
        picture = pictures(number)
        if checksum_of(picture.pixels) != entry.checksum:
            raise UserError(f"{path} has another picture {shown(entry.name)}; {AGAIN}")
    found = [record for _, record in container.records(container.entries)]
    whole = [record for record in found if record is not None]
    if len(whole) < len(found):
        raise DamagedFile(f"{path} is damaged: it is cut, or has changed bytes; {AGAIN}")
    return whole
