"""Augmentations: random changes of training images.

Bits/dim of held-out images after short trainings of pyramids of `convnet` (1,000 steps of 8 images, and 2,500 of 16
images for the prior), as means over three seeds with their deviation, on emoji of smileys, animals and food (2,258
training images) and on CIFAR-10 (2,800). Variants of `turns` and `channels` are labels. So little is gained, and seeds
differ by as much:

                                    emoji           CIFAR-10
    none                            1.928 (0.006)   3.541 (0.030)
    `flip`                          1.918 (0.007)   3.536 (0.028)
    `flip`, `shift` by one pixel    1.926 (0.007)   3.536 (0.001)
    `flip`, `turns`                 1.926 (0.011)   3.543 (0.029)
    `flip`, `channels`              1.993 (0.015)   3.542 (0.001)
"""

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from auxar import Augmentation, Component, Condition, ImageSpec, UserError, at_most, hookimpl, positive

AUXAR_INTERFACE = 1
MOST_PIXELS = 64
"""Maximum distance of a shift in pixels."""


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the augmentations `flip`, `shift`, `turns`, `transpose` and `channels`."""
    return [Component("augmentation", kind().name, kind) for kind in (Flip, Shift, Turns, Transpose, Channels)]


@attrs.frozen
class Flip(Augmentation):
    """Mirrors an image left to right with probability ½."""

    def variants(self, image: ImageSpec) -> int:
        return 2

    def __call__(self, images: Tensor, variant: int) -> Tensor:
        return images.flip(3) if variant else images


@attrs.frozen
class Shift(Augmentation):
    """Moves an image vertically and horizontally. Pixels at its borders are repeated."""

    pixels: int = attrs.field(default=1, validator=[positive, at_most(MOST_PIXELS)])
    """Maximum number of pixels in each direction, 1 … 64. All distances are equally probable."""

    def variants(self, image: ImageSpec) -> int:
        return (2 * self.pixels + 1) ** 2

    def __call__(self, images: Tensor, variant: int) -> Tensor:
        for axis, number in zip((2, 3), divmod(variant, 2 * self.pixels + 1), strict=True):
            # Numbers 0, 1, 2, … are the distances 0, …, pixels, -pixels, …, -1.
            distance = number if number <= self.pixels else number - (2 * self.pixels + 1)
            side = images.shape[axis]
            places = [min(max(place - distance, 0), side - 1) for place in range(side)]
            images = images.index_select(axis, torch.tensor(places, device=images.device))
        return images

    def changes(self, condition: Condition, image: ImageSpec) -> bool:
        sides = (condition.spec.height, condition.spec.width), (image.height, image.width)
        if not condition.is_vector and sides[0] != sides[1]:
            raise UserError(f"expected a condition of {image.height}×{image.width} pixels, got {condition.spec}")
        return super().changes(condition, image)


class _Square(Augmentation):
    """An augmentation that exchanges rows and columns."""

    count: ClassVar[int]
    """The number of variants."""

    def variants(self, image: ImageSpec) -> int:
        if image.height != image.width:
            raise UserError(f"expected square images, got {image}")
        return self.count


@attrs.frozen
class Turns(_Square):
    """Turns a square image by 0, 90, 180 or 270 degrees. The model then draws turned images, too."""

    count = 4

    def __call__(self, images: Tensor, variant: int) -> Tensor:
        return images.rot90(variant, (2, 3))


@attrs.frozen
class Transpose(_Square):
    """Exchanges rows and columns of a square image with probability ½. The model then draws such images, too."""

    count = 2

    def __call__(self, images: Tensor, variant: int) -> Tensor:
        return images.transpose(2, 3) if variant else images


@attrs.frozen
class Channels(Augmentation):
    """Puts the channels of an image in any order. The model then draws images in other colors, too.

    A conditioning image with as many channels changes with the image; other conditions do not.
    """

    def variants(self, image: ImageSpec) -> int:
        return math.factorial(image.channels)

    def __call__(self, images: Tensor, variant: int) -> Tensor:
        orders = itertools.permutations(range(images.shape[1]))
        return images[:, list(next(itertools.islice(orders, variant, None)))]

    def changes(self, condition: Condition, image: ImageSpec) -> bool:
        return condition.kind == "image" and condition.spec.channels == image.channels
