"""Compressing pictures in shards: each writes a file with a part of the pictures, and all of these files are merged.

The file of a shard is a file like any other, with a checksum of its whole content at its end. A picture's bytes depend
on the picture and the model alone, so the merged file has the same bytes as the file of a single command.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from auxar.coding.archive import checksum_of
from auxar.coding.container import SEAL, Header, digest_of, read_container, write_container
from auxar.coding.index import Entry
from auxar.coding.pictures import Picture
from auxar.distributed.shards import Shard
from auxar.errors import UserError, shown
from auxar.files import DamagedFile, kind, remove

logger = logging.getLogger("auxar")


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
    *,
    replace: bool,
) -> bool:
    """Whether there is a whole file of a shard with this header and exactly these pictures, given these conditions.

    `pictures` returns the picture with a number. A damaged file counts as missing, which is logged. So does a file of
    anything else if `replace` is True; otherwise raises `UserError`, because it must not be replaced.
    """
    if kind(path, follow_links=True) is None:
        return False
    try:
        _checked(path, header, names, conditions, pictures, range(len(names)))
    except UserError as error:
        if not isinstance(error, DamagedFile) and not replace:
            raise UserError(f"{error}; delete it, or replace it with --replace") from None
        logger.warning("%s; its pictures are compressed again", error)
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
    that compresses them, for messages. Raises `UserError`, and removes nothing, if the file of a shard is missing,
    damaged, or of other pictures or models.
    """
    shards = [Shard(number + 1, count) for number in range(count)]
    paths = [path_of(shard, out) for shard in shards]
    missing = [shard for shard, path in zip(shards, paths, strict=True) if kind(path, follow_links=True) is None]
    if missing:
        raise UserError(
            f"{path_of(missing[0], out)} is missing ({len(missing)} of {count} shards are); make it with `{command} "
            f"--shard {missing[0]}` and otherwise the same arguments"
        )
    coded: list[tuple[Entry, bytes]] = []
    for shard, path in zip(shards, paths, strict=True):
        part = part_of(shard, len(names))
        own = [names[number] for number in part]
        given = None if conditions is None else [conditions[number] for number in part]
        try:
            coded += _checked(path, header, own, given, pictures, part)
        except UserError as error:
            raise type(error)(
                f"{error}; make it again with `{command} --shard {shard}` and otherwise the same arguments"
            ) from None
    entries = [entry for entry, _ in coded]
    digest = write_container(out, header, entries, [record for _, record in coded])
    if digest_of(out) != (digest, b""):
        raise DamagedFile(
            f"{out} is damaged: other bytes were read than were written; merge the shards again, with --replace"
        )
    for path in paths:
        remove(path)
    return entries


def _checked(
    path: Path,
    header: Header,
    names: Sequence[str],
    conditions: Sequence[tuple[int, ...]] | None,
    pictures: Callable[[int], Picture],
    numbers: range,
) -> list[tuple[Entry, bytes]]:
    """The entries and the records of the file of a shard.

    Raises `UserError` unless it has this header, and exactly these pictures with their names, and `DamagedFile` if it
    has but is damaged. The streams are not decoded.
    """
    container = read_container(path)
    if container.header != header:
        raise UserError(f"{path} was made with another model")
    if [entry.name for entry in container.entries] != list(names):
        raise UserError(f"{path} has other pictures than this shard")
    if [entry.condition for entry in container.entries] != list(conditions or [()] * len(names)):
        raise UserError(f"{path} has pictures given other conditions")
    found = []
    for (entry, record), number in zip(container.records(container.entries), numbers, strict=True):
        if record is None:
            raise DamagedFile(f"{path} is damaged: it is cut, or has changed bytes")
        if not _is_of(entry, record, pictures(number), header):
            raise UserError(f"{path} has another picture {shown(entry.name)}")
        found.append((entry, record))
    # The checksum is compared last, so that only files of these pictures count as damaged.
    digest, seal = digest_of(path, SEAL)
    if digest != seal:
        raise DamagedFile(f"{path} is damaged: its content does not match its checksum")
    return found


def _is_of(entry: Entry, record: bytes, picture: Picture, header: Header) -> bool:
    """Whether an entry and its record are those of a picture with these values, this color profile and EXIF data."""
    channels, height, width = picture.pixels.shape
    shape = (entry.gray, entry.height, entry.width) == (channels == 1 < header.channels, height, width)
    data = picture.profile + picture.exif
    sizes = (entry.profile_bytes, entry.exif_bytes) == (len(picture.profile), len(picture.exif))
    return shape and sizes and record.startswith(data) and entry.checksum == checksum_of(picture.pixels)
