"""The interface of image sets, whatever they are stored in."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator

import attrs
from torch import Tensor

from auxar.interfaces import ImageSpec


class ImageSet(abc.ABC):
    """Images described by `image`, as uint8 tensors with values in [0, image.levels)."""

    image: ImageSpec
    fingerprint: str
    """A hash, equal on every machine for the same images in the same order and the same preparation."""
    most_workers: int | None
    """Worker processes that can share the work of reading; None for any number."""

    @abc.abstractmethod
    def training_images(self, seed: int, shares: Iterable[range]) -> Iterator[Tensor]:
        """For each range of positions in the endless training sequence of `seed`, its images: uint8, (n, c, h, w).

        The sequence goes through all images once an epoch, in an order that follows from (seed, epoch). Ranges ascend
        and do not overlap. Raises `UserError` for images that cannot be read.
        """

    @abc.abstractmethod
    def every(self, count: int, first: int, limit: int | None, block: int = 1) -> Iterator[tuple[int, Tensor]]:
        """Blocks number first, first + count … of `block` images each, of the first `limit` images: the images' numbers
        and uint8, (c, h, w)."""


@attrs.frozen
class DataSets:
    """Training and held-out images, which share none."""

    train: ImageSet
    heldout: ImageSet
    skipped: tuple[str, ...]
    """Names of broken images that were left out. A stream logs them when it meets them instead."""
