"""The work of compressing pictures into a file, which processes share."""

import contextlib
import functools
import hashlib
import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar import UserError, Work
from auxar_codec.archive import chunks_of, entry_of, steps
from auxar_codec.coding import Codec
from auxar_codec.container import (
    FORMAT,
    BytesAfterEnd,
    Container,
    entries_of,
    has_mark,
    packed_container,
    read_container,
    write_container,
)
from auxar_codec.index import Entry, packed_index
from auxar_codec.names import check_names
from auxar_codec.pictures import Picture, read_picture

logger = logging.getLogger("auxar")
MESSAGES = {
    "whole": "%(file)s has these pictures and is kept",
    "old": "%(file)s has these pictures, as far as is known without decoding them, and is kept: the version of auxar "
    "that made it stored no checksum of the whole file; `auxar decompress %(file)s --check` decodes them",
    "damaged": "%(file)s has these pictures, but is damaged; it is made again",
}
"""Messages for states of an output that was made of the same pictures before."""
CHUNK = 2**19
"""Maximum number of sub-pixels of the tiles in a chunk; at least one picture is in it."""


@attrs.frozen
class Compressed:
    """The result of `auxar.compress`."""

    path: Path
    """The file."""
    images: int
    """Number of images."""
    bytes: int
    """Size of the file."""
    sub_pixels: int
    """Number of sub-pixels of all images."""
    bytes_before: int
    """Size of all picture files."""

    @property
    def bits_per_dim(self) -> float:
        """Bits of the file for each sub-pixel of its images."""
        return 8 * self.bytes / self.sub_pixels


@attrs.frozen
class Source:
    """A picture that is to be compressed, as it was found when the command began."""

    file: Path
    entry: Entry
    """Its entry in the index, before it is encoded."""
    pixels: str
    """SHA-256 of its values."""


class Compression(Work):
    """The work of compressing picture files into a file. The result of a chunk is an index and records.

    `condition` is a condition of all pictures, or one for each. `tile` is the height and width of tiles; without
    it, pictures are divided only if the model has one size. A file with another content is replaced only with
    `replace`, and a damaged file of these pictures is made again. With `skip`, pictures that cannot be read or kept
    without loss are left out with a warning; otherwise, they raise `UserError`. So do two pictures with the same name,
    no picture, an index that would be too large, and another file at `out`.
    """

    def __init__(
        self,
        codec: Codec,
        files: Sequence[Path],
        out: Path,
        condition: Any,
        *,
        tile: tuple[int, int] | None = None,
        replace: bool = False,
        skip: bool = False,
    ) -> None:
        check_names([file.name for file in files], map(str, files))
        if out.exists() and any(file.samefile(out) for file in files):
            raise UserError(f"{out} is one of the pictures; choose another name with -o")
        self.codec, self.replace = codec, replace
        values = codec.conditions(condition, len(files))
        # Encoding takes long, so all pictures are checked before it begins.
        self.sources: list[Source] = []
        for file, own in steps(list(zip(files, values, strict=True)), "reading"):
            try:
                self.sources.append(self._source(file, read_picture(file), own))
            except UserError as error:
                if not skip:
                    raise UserError(f"{error}; --skip leaves out such pictures") from None
                logger.warning("%s; it is left out", error)
        if not self.sources:
            raise UserError("paths: none of the pictures can be compressed")
        self.header = codec.header([source.entry for source in self.sources], tile)
        self.archiver = codec.archiver(self.header)
        self.parts = chunks_of([self.archiver.size(source.entry) for source in self.sources], CHUNK)
        facts = {"header": self.header.table(), "pictures": [attrs.astuple(source)[1:] for source in self.sources]}
        super().__init__(out, facts, len(self.parts))
        self.entries = [source.entry for source in self.sources]
        self._state_of = functools.lru_cache(maxsize=1)(self._examined)
        self._check_output()
        if (state := self._state()) in MESSAGES:
            logger.warning(MESSAGES[state], {"file": out})

    def _source(self, file: Path, picture: Picture, condition: tuple[int, ...]) -> Source:
        entry = entry_of(file.name, picture, self.codec.model.image.channels, condition, str(file))
        return Source(file, entry, hashlib.sha256(picture.pixels.tobytes()).hexdigest())

    def _check_output(self) -> None:
        if not self.replace and os.path.lexists(self.output) and self._state() == "other":
            reason = f"{self.output} exists"
            try:
                read_container(self.output)
            except UserError as error:
                reason = str(error) if isinstance(error, BytesAfterEnd) else reason
            raise UserError(f"{reason}; files are replaced only with --replace")

    def is_concluded(self) -> bool:
        """Whether the output has exactly these pictures, and no damage that its checksums show."""
        return self._state() in ("whole", "old")

    def _state(self) -> str:
        """The state of the output: a key of `MESSAGES`, or "other" if it is missing or not made of these pictures."""
        if not self.output.is_file():
            return "other"
        status = self.output.stat()
        return self._state_of(status.st_ino, status.st_size, status.st_mtime_ns)

    def _examined(self, *_: int) -> str:
        """Reads the whole output, and returns its state. The arguments tell one content from another."""
        state = "damaged" if has_mark(self.output, self.header, self.entries) else "other"
        with contextlib.suppress(UserError):
            found = read_container(self.output)
            if self._has_these(found):
                state = "old" if found.header.format < FORMAT else "whole" if found.is_whole() else "damaged"
        return state

    def _has_these(self, found: Container) -> bool:
        """Whether a file has the header and the entries of exactly these pictures."""
        records = found.records(found.entries)
        known = (None if record is None else entry.before_encoding(record) for entry, record in records)
        same = (one == other for one, other in itertools.zip_longest(known, self.entries))
        return attrs.evolve(found.header, format=FORMAT) == self.header and all(same)

    def compute(self, number: int) -> dict[str, Tensor]:
        """Encodes the pictures of a chunk. Raises `UserError` if one has changed."""
        pictures = []
        for source in self.sources[self.parts[number]]:
            picture = read_picture(source.file)
            if self._source(source.file, picture, source.entry.condition) != source:
                raise UserError(f"{source.file} has changed since this command began; begin again")
            pictures.append((source.entry, picture))
        entries, records = zip(*self.archiver.encode(pictures), strict=True)
        return {"index": _tensor(packed_index(entries)), "records": _tensor(b"".join(records))}

    def conclude(self, found: list[dict[str, Tensor]]) -> None:
        """Writes the file."""
        self._check_output()
        entries = [entry for each in found for entry in entries_of(each["index"].numpy().tobytes(), self.header)]
        records = [each["records"].numpy().tobytes() for each in found]
        write_container(self.output, packed_container(self.header, entries, records, self.entries))

    def result(self) -> Compressed:
        """The description of the file."""
        channels, entries = self.header.channels, self.entries
        before = sum(source.file.stat().st_size for source in self.sources)
        dims = sum(entry.height * entry.width * (1 if entry.gray else channels) for entry in entries)
        return Compressed(self.output, len(entries), self.output.stat().st_size, dims, before)


def _tensor(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())
