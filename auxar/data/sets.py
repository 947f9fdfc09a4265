"""The interface of image sets, which stored and streamed images implement."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sized

import attrs
from torch import Tensor

from auxar.interfaces import ImageSpec


class ImageSet(abc.ABC):
    """A set of images, read as uint8 tensors of the shape that `image` gives, with values in [0, image.levels)."""

    image: ImageSpec
    fingerprint: str
    """A hash that identifies the images, their order and their preparation, equal on every machine.

    For a stream, the source is hashed instead of the images.
    """
    most_workers: int | None
    """Maximum number of worker processes that can read the set at the same time; None if there is no limit."""

    @abc.abstractmethod
    def training_images(self, seed: int, shares: Iterable[range]) -> Iterator[Tensor]:
        """Yields one batch of images for each range in `shares`: uint8, (n, c, h, w).

        A range holds positions in an endless training sequence. The sequence contains every image once in each epoch,
        in an order determined by `seed` and the number of the epoch. The ranges must be in ascending order, without
        overlap. Raises `UserError` if an image cannot be read.
        """

    @abc.abstractmethod
    def every(self, count: int, first: int, limit: int | None, block: int = 1) -> Iterator[tuple[int, Tensor]]:
        """Yields pairs of an image's number and the image, uint8 (c, h, w), for one part of the set.

        The first `limit` images (all if it is None) are divided into blocks of `block` consecutive images. The part
        consists of the blocks `first`, `first + count`, `first + 2·count`, … An image's number is its position in the
        set. Raises `UserError` if an image cannot be read, or if the set has no image and `limit` is not 0.
        """

    @abc.abstractmethod
    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Yields pairs of an image's name and the image, uint8 (c, h, w), for all images in the order of the set.

        Raises `UserError` if an image cannot be read.
        """

    @abc.abstractmethod
    def whole(self) -> ImageSet:
        """The set of all images of the split that this set belongs to, in the order of the source.

        The split may have been divided into this set and others. Broken images are left out.
        """


@attrs.frozen
class DataSets:
    """The training images, the held-out images and, if there are any, the validation images, as separate sets."""

    train: ImageSet
    heldout: ImageSet
    skipped: tuple[str, ...]
    """Names of the broken images that were left out. It is empty for streams, which log broken images as they read."""
    validation: ImageSet | None = None
    """The images for choices during training: the best weights, and when to stop. None if the recipe has none."""

    @property
    def facts(self) -> dict[str, str]:
        """Values by name that are equal in all processes that have the same images."""
        sets = (("training", self.train), ("validation", self.validation), ("held-out", self.heldout))
        return {
            f"the {name} images": f"{len(images)} images, fingerprint {images.fingerprint}"
            if isinstance(images, Sized)
            else f"a stream, fingerprint {images.fingerprint}"
            for name, images in sets
            if images is not None
        }
