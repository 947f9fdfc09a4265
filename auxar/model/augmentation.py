"""Augmentations: random changes of training images, with their conditions."""

import abc
import itertools
import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from auxar.arguments import as_integer
from auxar.errors import UserError, naming, shown
from auxar.model.condition import Condition
from auxar.model.image import ImageSpec
from auxar.model.rule import name_of

MOST_NUMBER = 2**31 - 1
"""Maximum number of variants of an augmentation."""
MOST_VARIANTS = 64
"""Maximum number of variants of an image that `variants_of` gives."""


class Augmentation(abc.ABC):
    """A random change of training images, such as mirroring.

    An augmentation has several variants of each image. Variant 0 is the image itself. Each time that training uses an
    image, it takes one of the variants, all of them with the same probability. Other commands use the images as they
    are.

    Examples:
        >>> import torch
        >>> class UpsideDown(Augmentation):
        ...     def variants(self, image):
        ...         return 2
        ...     def __call__(self, images, variant):
        ...         return images.flip(2) if variant else images
        >>> UpsideDown().name, UpsideDown()(torch.arange(4).reshape(1, 1, 2, 2), 1).tolist()
        ('upside_down', [[[[2, 3], [0, 1]]]])
    """

    @abc.abstractmethod
    def variants(self, image: ImageSpec) -> int:
        """The number of variants of images of a shape and range, at least 1.

        Raises `UserError` if the augmentation does not support these images.
        """

    @abc.abstractmethod
    def __call__(self, images: Tensor, variant: int) -> Tensor:
        """Computes a variant of images: integers, (b, c, h, w), with the shape, dtype and range of the images."""

    def changes(self, condition: Condition, image: ImageSpec) -> bool:
        """Whether the condition of an image of a shape changes with the image: it becomes the same variant.

        By default, masks and images do, because pixels of the image move. Raises `UserError` if this is not possible.
        """
        if condition.is_vector:
            return False
        self.variants(condition.spec)  # Raises `UserError` if the condition has another shape than is supported.
        return True

    @property
    def name(self) -> str:
        """The name of the augmentation in messages and as part of random seeds: the words of its class."""
        return name_of(type(self))


def check_augmentations(augment: Sequence[Augmentation], image: ImageSpec, condition: Condition | None) -> None:
    """Raises `UserError` unless the augmentations differ and support images of this shape with their condition."""
    names: list[str] = []
    for each in augment:
        if not isinstance(each, Augmentation):
            raise UserError(f"expected augmentations, such as auxar_augmentations.Flip(), got {shown(each)}")
        if each.name in names:
            raise UserError(f"expected each augmentation once, got {each.name} twice")
        names.append(each.name)
        with naming(each.name):
            as_integer(each.variants(image), "variants", 1, MOST_NUMBER)
            if condition is not None:
                each.changes(condition, image)


def variants_of(images: Tensor, augment: Sequence[Augmentation], image: ImageSpec) -> Iterator[Tensor]:
    """Yields images (b, c, h, w) of the shape and range `image`, then their other variants by several augmentations.

    An augmentation with which there would be more than `MOST_VARIANTS` is left out.
    """
    chosen: list[tuple[Augmentation, range]] = []
    for each in augment:
        count = each.variants(image)
        if count * math.prod(len(found) for _, found in chosen) <= MOST_VARIANTS:
            chosen.append((each, range(count)))
    for numbers in itertools.product(*(found for _, found in chosen)):
        changed = images
        for (each, _), number in zip(chosen, numbers, strict=True):
            changed = each(changed, number)
        yield changed
