"""The bit-plane view: the upper bits of an image's values, so that a model generates coarse brightness first."""

from collections.abc import Sequence
from typing import Self

import attrs
import torch
from torch import Tensor

from auxar import Component, ImageSpec, Known, SumSupport, UserError, View, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class BitplanesConfig:
    """The upper bits of every value, without the `drop` lowest bits.

    In a chain of views, each stage removes bits from the image of its own depth, so a stage can be repeated: three
    stages with `drop = 2` reduce 8 bits to 6, 4 and 2.
    """

    drop: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    """Number of lowest bits that are removed from each value, at least 1. At least one bit must remain."""


class BitplanesView(View):
    """The view ⌊x / 2^drop⌋ of every value x. An image of 2^n levels has a view of 2^(n - drop) levels and equal size.

    Raises `UserError` if the number of levels of the image is not a power of two, or is not more than 2^drop.
    """

    monotone = True
    any_size = True

    def __init__(self, config: BitplanesConfig, image: ImageSpec) -> None:
        bits = image.levels.bit_length() - 1
        if bits < 2 or image.levels != 2**bits:
            nearest = f"{2**bits} or {2 ** (bits + 1)}" if bits > 1 else "4"
            raise UserError(f"the levels must be a power of two and at least 4 (nearest: {nearest}), got {image}")
        if config.drop >= bits:
            got = f"got drop = {config.drop} and {image}"
            raise UserError(f"drop must be at most {bits - 1} for an image of {bits} bits, {got}")
        self.drop = config.drop
        self.image = image
        self.view = attrs.evolve(image, levels=image.levels >> config.drop)
        self.support = SumSupport(image, self._each, self._values)

    def at(self, image: ImageSpec) -> Self:
        return type(self)(BitplanesConfig(self.drop), image)

    def __call__(self, image: Tensor) -> Tensor:
        """Computes the view: integers (b, c, h, w) give integers of equal shape and dtype in [0, levels / 2^drop)."""
        self.image.check(image)
        return image >> self.drop

    def _each(self) -> tuple[Tensor, Tensor]:
        """The groups and weights for `SumSupport`: each sub-pixel is a group of its own, with weight 1."""
        return torch.arange(self.image.dims).view(self.image.shape), torch.tensor(1)

    def _values(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value of each sub-pixel that have the upper bits of the view."""
        lowest = view.to(torch.int64).flatten(1) << self.drop
        return lowest, lowest + (1 << self.drop) - 1

    def known(self, known: Known) -> Known:
        """The known pixels of the view: a pixel is known if it is known in the image."""
        return Known(self(known.filled()), known.mask)


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the view `bitplanes`."""
    return [Component("view", "bitplanes", BitplanesConfig, BitplanesView)]
