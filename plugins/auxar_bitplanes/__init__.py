"""The bit-plane view: an image and the upper bits of its values, coarse brightness before fine."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from auxar import Component, ImageSpec, Known, SumSupport, UserError, View, hookimpl

AUXAR_INTERFACE = 2


@attrs.frozen
class BitplanesConfig:
    """The upper bits of every value, the `drop` lowest ones left out.

    What is dropped is counted from the image that a stage gets, not from the first one of the chain, so that a stage
    can be repeated: three times `drop = 2` are 8 bits, 6, 4 and 2.
    """

    drop: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    """Bits of each value that the view leaves out; at least one bit has to stay."""


class BitplanesView(View):
    """⌊x / 2^drop⌋ of every value x: the view of an image of 2^n levels has 2^(n - drop), and the image's size.

    Raises `UserError` unless the image's levels are a power of two and more than 2^drop.
    """

    monotone = True

    def __init__(self, config: BitplanesConfig, image: ImageSpec) -> None:
        bits = image.levels.bit_length() - 1
        if bits < 2 or image.levels != 2**bits:
            nearest = f"{2**bits} or {2 ** (bits + 1)}" if bits > 1 else "4"
            raise UserError(f"needs an image whose levels are a power of two from 4 on, such as {nearest}, got {image}")
        if config.drop >= bits:
            raise UserError(f"drop = {config.drop}: an image of {bits} bits can drop {bits - 1} at most, got {image}")
        self.drop = config.drop
        self.image = image
        self.view = attrs.evolve(image, levels=image.levels >> config.drop)
        self.support = SumSupport(image, self._each, self._values)

    def __call__(self, image: Tensor) -> Tensor:
        """(b, c, h, w) integers to (b, c, h, w) integers of the same dtype in [0, levels / 2^drop)."""
        self.image.check(image)
        return image >> self.drop

    def _each(self) -> tuple[Tensor, Tensor]:
        """Every sub-pixel by itself."""
        return torch.arange(self.image.dims).view(self.image.shape), torch.tensor(1)

    def _values(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest value with these upper bits."""
        lowest = view.to(torch.int64).flatten(1) << self.drop
        return lowest, lowest + (1 << self.drop) - 1

    def known(self, known: Known) -> Known:
        """A value of the view is known where its pixel is."""
        return Known(self(known.filled()), known.mask)


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """The view `bitplanes`."""
    return [Component("view", "bitplanes", BitplanesConfig, BitplanesView)]
