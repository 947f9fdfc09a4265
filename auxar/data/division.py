"""Random divisions of images into training, validation and held-out images."""

from __future__ import annotations

import attrs
import numpy as np

from auxar.data.randomness import permutation, uniform
from auxar.errors import UserError
from auxar.recipe import DataConfig


@attrs.frozen
class DividedRows:
    """The row numbers of a training split's images, int64, divided into two or three parts without overlap."""

    train: np.ndarray
    validation: np.ndarray | None
    """None if the split has no validation part."""
    heldout: np.ndarray | None
    """None if the held-out images are a split of their own."""


def divided_rows(config: DataConfig, rows: np.ndarray) -> DividedRows:
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
    return DividedRows(rows, validation, heldout)


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
class Assignment:
    """The training side or the held-out side of a random split of a stream.

    The seed and the position of an image in the stream determine the side of the image.
    """

    seed: int
    """Seed of the split."""
    fraction: float
    """Expected fraction of the images on the training side."""
    train: bool
    """Whether this is the training side."""

    def holds(self, position: int) -> bool:
        """Whether the image at `position` of the whole stream is on this side."""
        return (uniform("stream split", self.seed, position) < self.fraction) is self.train

    def __str__(self) -> str:
        """The end of a message about a side without images: its name, and where all images may be instead."""
        kind, other = ("images for training", "held out") if self.train else ("held-out images", "for training")
        return f"{kind}: it is empty, or all its images are {other} (data.split.train = {self.fraction}) or broken"


@attrs.frozen
class ValidationAssignment:
    """The validation side, or the remaining training side, of the training images of a stream.

    The seed and the position of an image in the stream determine the side of the image.
    """

    seed: int
    """Seed of the split."""
    fraction: float
    """Expected fraction of the training images on the validation side."""
    validation: bool
    """Whether this is the validation side."""
    within: Assignment | None
    """The training side of the random split that also gives the held-out images. None if the held-out images are a
    split of their own, so that all images of the stream are divided."""

    def holds(self, position: int) -> bool:
        """Whether the image at `position` of the whole stream is on this side."""
        if self.within is not None and not self.within.holds(position):
            return False
        return (uniform("stream validation", self.seed, position) < self.fraction) is self.validation

    def __str__(self) -> str:
        """The end of a message about a side without images: its name, and where all images may be instead."""
        kind, other = ("validation images", "training") if self.validation else ("images for training", "validation")
        others = f"for {other}" if self.within is None else f"for {other} or held out"
        return (
            f"{kind}: it is empty, or all its images are {others} (data.split.validation = {self.fraction}) or broken"
        )


Side = Assignment | ValidationAssignment


@attrs.frozen
class Sides:
    """The sides of a stream. A side is None if the stream is not divided for it."""

    train: Side | None
    """None if all images of the stream are for training."""
    validation: Side | None
    heldout: Side | None


def sides_of_stream(config: DataConfig) -> Sides:
    """The sides of the stream of a training split, as `config.split` says."""
    split = config.split
    train = heldout = None
    if config.heldout is None:
        train, heldout = (Assignment(split.seed, split.train, train=side) for side in (True, False))
    if not split.validation:
        return Sides(train, None, heldout)
    validation, rest = (
        ValidationAssignment(split.seed, split.validation, validation=side, within=train) for side in (True, False)
    )
    return Sides(rest, validation, heldout)
