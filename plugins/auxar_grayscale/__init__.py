"""The quantized grayscale view (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from torch import Tensor, int64

from auxar.errors import UserError
from auxar.interfaces import ImageSpec, Known, View
from auxar.plugins import Component, hookimpl

# ITU-R BT.601 luma in thousandths: integers, so that the view is the same on every machine.
RED, GREEN, BLUE = 299, 587, 114


@attrs.frozen
class GrayscaleConfig:
    """Luma, rounded half up and quantized to `levels` bins of equal width."""

    levels: int = attrs.field(default=16, validator=attrs.validators.ge(2))
    """Gray values of the view; 16 are the paper's 4 bits."""


class GrayscaleView(View):
    """One channel of `levels` gray values: integer arithmetic, half up.

    Raises `UserError` unless the image has three channels and at least as many levels as the view.
    """

    def __init__(self, config: GrayscaleConfig, image: ImageSpec) -> None:
        if image.channels != 3:
            raise UserError(f"needs an image of 3 channels (red, green, blue), got {image}")
        if config.levels > image.levels:
            raise UserError(f"levels = {config.levels}: the image itself has only {image.levels} levels")
        self.image = image
        self.view = ImageSpec(channels=1, height=image.height, width=image.width, levels=config.levels)

    def __call__(self, image: Tensor) -> Tensor:
        """(b, 3, h, w) integers to (b, 1, h, w) integers in [0, levels) of the same dtype."""
        self.image.check(image)
        red, green, blue = image.to(int64).split(1, dim=1)
        luma = (RED * red + GREEN * green + BLUE * blue + 500) // 1000
        return (luma * self.view.levels // self.image.levels).to(image.dtype)

    def known(self, known: Known) -> Known:
        """A gray value is known where its pixel is."""
        return Known(self(known.filled()), known.mask)


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """The view `grayscale`."""
    return [Component("view", "grayscale", GrayscaleConfig, GrayscaleView)]
