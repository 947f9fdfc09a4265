"""The results of `auxar.compress` and `auxar.decompress`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from auxar.coding.index import Entry


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

    @classmethod
    def of(cls, path: Path, entries: Sequence[Entry], channels: int) -> Compressed:
        """The result for a file with this index, whose images in color have `channels` channels."""
        sub_pixels = sum(entry.height * entry.width * (1 if entry.gray else channels) for entry in entries)
        return cls(path, len(entries), path.stat().st_size, sub_pixels)

    @property
    def bits_per_dim(self) -> float:
        """Bits of the file for each sub-pixel of its images."""
        return 8 * self.bytes / self.sub_pixels


@attrs.frozen
class Decompressed:
    """The result of `auxar.decompress`."""

    file: Path
    """The file that was decoded."""
    paths: tuple[Path, ...]
    """The written pictures."""
    damaged: tuple[str, ...]
    """Names of the images that are damaged or missing, because the file was changed or cut."""
