"""Image sets: the interface that stored and streamed images implement, and batches of images for training loops."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Mapping, Sequence, Sized

import attrs
from torch import Tensor
from torch.utils.data import Dataset

from auxar.arguments import as_integer
from auxar.data.batches import Readable, TrainingExamples, evaluation_examples
from auxar.data.crops import Array, Crops
from auxar.errors import UserError, naming, shown
from auxar.model import IMAGE, Augmentation, Values
from auxar.model.augmentation import check_augmentations
from auxar.model.values import joined

ENDLESS = 2**62
"""Number of batches of an endless sequence. Positions of images in it are still exact integers of 64 bits."""


class ImageSet(Readable, Dataset[Tensor]):
    """A set of images, read as uint8 tensors of the shape that `image` gives, with values in [0, image.levels).

    With `data.crop = "random"`, images keep their own sizes: batches for training have crops of them.

    Unless it is a stream, `len` gives its number of images and `images[number]` reads one of them, so that PyTorch's
    `DataLoader` accepts the set as a data set.

    Examples:
        >>> import auxar
        >>> images = auxar.load_images(auxar.load("runs/quickstart"))
        >>> len(images.train), len(images.heldout), images.train[0].shape
        (818, 96, torch.Size([3, 32, 32]))
    """

    crops: Crops | None = None
    """The crops that training draws from images of their own sizes; None if all images have the size of `image`."""
    reduced: bool = False
    """Whether pictures have 16 bits per channel, of which only the upper 8 are used. Of a stream, the first is read."""
    fingerprint: str
    """A hash that identifies the images, their order and their preparation, equal on every machine.

    For a stream, the source is hashed instead of the images.
    """

    def __getitem__(self, number: int) -> Tensor:
        """Reads one image: uint8, (c, h, w). Raises `UserError` if the set is a stream."""
        raise UserError("the images of a stream cannot be read by number; use the methods shuffled or in_order")

    def shuffled(
        self,
        batch_size: int,
        *,
        epochs: float | None = None,
        seed: int = 0,
        augment: Sequence[Augmentation] = (),
        workers: int = 0,
    ) -> Iterator[Tensor]:
        """Yields batches in random order: uint8, (batch_size, c, h, w); endlessly, or for a number of `epochs`.

        Each epoch contains every image once, in an order determined by `seed` and the number of the epoch. A batch may
        contain the end of one epoch and the start of the next; with `epochs`, the last batch may be smaller.
        Augmentations, such as those of `auxar_augmentations`, change each image at random. `workers` is the number of
        processes that read batches in advance.

        Raises `UserError` if an argument is out of range, or if a stream, whose length is unknown, gets `epochs`.

        Examples:
            >>> import auxar
            >>> images = auxar.load_images(auxar.load("runs/quickstart"))
            >>> from auxar_augmentations import Flip
            >>> batches = images.train.shuffled(16, seed=1, augment=[Flip()])
            >>> next(batches).shape
            torch.Size([16, 3, 32, 32])
            >>> [len(batch) for batch in images.heldout.shuffled(30, epochs=1)]
            [30, 30, 30, 6]
        """
        options = {"epochs": epochs, "seed": seed, "augment": augment, "workers": workers}
        return (batch[IMAGE] for batch in self.shuffled_examples(batch_size, **options))  # type: ignore[arg-type]

    def shuffled_examples(
        self,
        batch_size: int,
        *,
        epochs: float | None = None,
        seed: int = 0,
        augment: Sequence[Augmentation] = (),
        workers: int = 0,
        drop: float = 0.0,
    ) -> Iterator[Values]:
        """Yields the batches of `shuffled` as examples, which have the images and their conditions.

        Each condition is replaced by the null condition with probability `drop`, for models that accept it.

        Examples:
            >>> import auxar
            >>> images = auxar.load_images(auxar.load("runs/quickstart"))
            >>> batch = next(images.train.shuffled_examples(16))
            >>> batch["image"].shape, "condition" in batch
            (torch.Size([16, 3, 32, 32]), False)
        """
        if isinstance(drop, bool) or not isinstance(drop, int | float) or not 0 <= drop <= 1:
            raise UserError(f"drop: expected a number from 0 to 1, got {shown(drop)}")
        with naming("augment"):
            check_augmentations(augment, self.image, self.condition)
        batch_size = as_integer(batch_size, "batch_size", 1)
        total = None
        if epochs is not None:
            if not isinstance(self, Sized):
                raise UserError("epochs: the length of a stream is not known; end the loop after a number of batches")
            if isinstance(epochs, bool) or not isinstance(epochs, int | float) or not 0 < epochs < math.inf:
                raise UserError(f"epochs: expected a number greater than 0, got {shown(epochs)}")
            total = math.ceil(epochs * len(self))
        steps = ENDLESS // batch_size if total is None else math.ceil(total / batch_size)
        found = TrainingExamples(self, batch_size, steps, seed, augment=augment, drop=drop).read(workers)
        return found if total is None else _first(found, total)

    def in_order(self, batch_size: int, *, limit: int | None = None) -> Iterator[Tensor]:
        """Yields the first `limit` images (all if it is None) once, in their order: uint8, (b, c, h, w).

        b is `batch_size`, except in the last batch, which may be smaller. Images of several sizes are in batches of
        one size, as `evaluation_examples` describes.

        Examples:
            >>> import auxar
            >>> images = auxar.load_images(auxar.load("runs/quickstart"))
            >>> [len(batch) for batch in images.heldout.in_order(8, limit=20)]
            [8, 8, 4]
        """
        return (batch[IMAGE] for batch in self.in_order_examples(batch_size, limit=limit))

    def in_order_examples(self, batch_size: int, *, limit: int | None = None) -> Iterator[Values]:
        """Yields the batches of `in_order` as examples, which have the images and their conditions.

        Examples:
            >>> import auxar
            >>> images = auxar.load_images(auxar.load("runs/quickstart"))
            >>> [len(batch) for batch in images.heldout.in_order_examples(8, limit=20)]
            [8, 8, 4]
        """
        batch_size = as_integer(batch_size, "batch_size", 1)
        return (batch for _, batch in evaluation_examples(self, batch_size=batch_size, limit=limit))

    def first_examples(self, count: int, step: int = 1) -> Values:
        """Reads the first `count` examples, every `step`-th of the set, or all if there are fewer.

        Larger images than those of [image] are cropped at the center.
        """
        found = (example for _, example in self.every_example(step, 0, step * count))
        return joined([example | {IMAGE: self.centered(example[IMAGE])} for example in found])

    def cropped(self, image: Array, *key: object) -> Array:
        """The crop, determined by `key`, of an image of its own size, (c, h, w); an image of the set's size itself."""
        return image if self.crops is None else self.crops.random(image, *key)

    def centered(self, images: Array) -> Array:
        """The centers of images of their own size, (…, h, w); images of the set's size themselves."""
        return images if self.crops is None else self.crops.center(images)

    def spaced_examples(self, count: int) -> Values:
        """Reads up to `count` examples: evenly spaced ones or, of a stream, the first ones.

        Larger images than those of [image] are cropped at the center.

        Examples:
            >>> import auxar
            >>> images = auxar.load_images(auxar.load("runs/quickstart"))
            >>> len(images.train.spaced_examples(10))
            10
        """
        return self.spaced(count).first_examples(count)

    def spaced(self, count: int) -> ImageSet:
        """Up to `count` evenly spaced images, so that all classes occur if the set is sorted; a stream as it is."""
        return self

    def every(self, count: int, first: int, limit: int | None, block: int = 1) -> Iterator[tuple[int, Tensor]]:
        """Yields the numbers and the images, uint8 (c, h, w), of `every_example` with the same arguments.

        Examples:
            >>> import auxar
            >>> images = auxar.load_images(auxar.load("runs/quickstart"))
            >>> [number for number, image in images.heldout.every(2, 1, 8)]
            [1, 3, 5, 7]
        """
        return ((number, batch[IMAGE][0]) for number, batch in self.every_example(count, first, limit, block))

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


def _first(batches: Iterator[Values], total: int) -> Iterator[Values]:
    """Yields the first `total` examples of batches that contain at least as many."""
    for batch in batches:
        yield batch.rows(slice(total))
        total -= len(batch)


@attrs.frozen
class DataSets:
    """The training images, the held-out images and, if there are any, the validation images, as separate sets."""

    train: ImageSet
    heldout: ImageSet
    skipped: tuple[str, ...]
    """Names of the broken images that were left out. It is empty for streams, which log broken images as they read."""
    validation: ImageSet | None = None
    """The images for choices during training: the best weights, and when to stop. None if the recipe has none."""
    own: Mapping[str, DataSets] = attrs.Factory(dict)
    """The data sets of single factors, by the factor's name. Only training has them, and uses their training images."""

    def of(self, factor: str) -> DataSets:
        """The sets of a factor that has its own, or these sets.

        Examples:
            >>> import auxar
            >>> images = auxar.load_images(auxar.load("runs/quickstart"))
            >>> images.of("prior") is images
            True
        """
        return self.own.get(factor, self)

    @property
    def facts(self) -> dict[str, str]:
        """Values by name that are equal in all processes that have the same images."""
        sets = [("training", self.train), ("validation", self.validation), ("held-out", self.heldout)]
        sets += [(f"{factor} factor's", own.train) for factor, own in self.own.items()]
        return {
            f"the {name} images": f"{len(images)} images, fingerprint {images.fingerprint}"
            if isinstance(images, Sized)
            else f"a stream, fingerprint {images.fingerprint}"
            for name, images in sets
            if images is not None
        }
