"""Random divisions of images into training, validation and held-out images."""

from typing import Generic, TypeVar

import attrs
import numpy as np

from auxar.data.randomness import permutation, uniform
from auxar.errors import UserError
from auxar.recipe import DataConfig

T = TypeVar("T")


@attrs.frozen
class Parts(Generic[T]):
    """The parts of a training split: the row numbers of their images, int64, or their sides of a stream."""

    train: T
    validation: T | None
    """None if the split has no validation part."""
    heldout: T | None
    """None if the held-out images are a split of their own."""


def divided_rows(config: DataConfig, rows: np.ndarray) -> Parts[np.ndarray]:
    """Divides the images in `rows`, int64 (n,), as `config.split` says.

    Held-out images are chosen first, and validation images are taken from the others. Held-out images, and the order of
    the training images that remain, are therefore the same with and without validation images. Raises `UserError` if a
    part has no image.
    """
    split, heldout, validation = config.split, None, None
    if config.heldout is None:
        count = _count(rows, split.train, "data.split.train", "training images and {rest} held-out images")
        order = permutation(len(rows), "split", split.seed)
        rows, heldout = rows[order[:count]], rows[order[count:]]
    if split.validation:
        parts = "validation images and {rest} training images"
        count = _count(rows, split.validation, "data.split.validation", parts)
        chosen = permutation(len(rows), "validation", split.seed)[:count]
        rows, validation = np.delete(rows, chosen), rows[chosen]
    return Parts(rows, validation, heldout)


def _count(rows: np.ndarray, fraction: float, key: str, parts: str) -> int:
    """The number of images in a part with this fraction of `rows`.

    Raises `UserError` if this part or the rest has no image. `parts` names both in the message, with {rest} in place of
    the number of images in the rest.
    """
    count = round(fraction * len(rows))
    if not 0 < count < len(rows):
        advice = f"use {min(max(count, 1), len(rows) - 1) / len(rows):.4g}" if len(rows) > 1 else "add images"
        found = parts.format(rest=len(rows) - count)
        raise UserError(f"{key}: {fraction} gives {count} {found}; each set needs at least 1; {advice}")
    return count


@attrs.frozen
class Side:
    """The images of a stream that are on one side of random divisions.

    The seed and the position of an image in the stream determine the side of the image.
    """

    kind: str = "images"
    """The kind of the images, for messages."""
    divisions: tuple[tuple[str, int, float, bool], ...] = ()
    """Name, seed and fraction of each division, and whether the images are in this fraction."""

    def holds(self, position: int) -> bool:
        """Whether the image at `position` is on this side."""
        return all((uniform(name, seed, position) < part) is inside for name, seed, part, inside in self.divisions)

    def __str__(self) -> str:
        others = "on other sides of data.split or " if self.divisions else ""
        return f"{self.kind}: it is empty, or all its images are {others}broken"


def sides_of_stream(config: DataConfig) -> Parts[Side]:
    """The sides of a stream for the images of each part, as `config.split` says."""
    split, heldout, validation = config.split, None, None
    train = Side("images for training")
    if config.heldout is None:
        train, heldout = (
            Side(kind, (("stream split", split.seed, split.train, inside),))
            for kind, inside in ((train.kind, True), ("held-out images", False))
        )
    if split.validation:
        train, validation = (
            Side(kind, (*train.divisions, ("stream validation", split.seed, split.validation, inside)))
            for kind, inside in ((train.kind, False), ("validation images", True))
        )
    return Parts(train, validation, heldout)
