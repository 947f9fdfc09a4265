"""The quantized grayscale view (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from auxar import Component, ImageSpec, Known, SumSupport, UserError, View, hookimpl

AUXAR_INTERFACE = 2


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

    monotone = True

    def __init__(self, config: GrayscaleConfig, image: ImageSpec) -> None:
        if image.channels != 3:
            raise UserError(f"needs an image of 3 channels (red, green, blue), got {image}")
        if config.levels > image.levels:
            raise UserError(f"levels = {config.levels}: the image itself has only {image.levels} levels")
        self.image = image
        self.view = ImageSpec(channels=1, height=image.height, width=image.width, levels=config.levels)
        self.support = SumSupport(image, self._pixels, self._sums)

    def __call__(self, image: Tensor) -> Tensor:
        """(b, 3, h, w) integers to (b, 1, h, w) integers in [0, levels) of the same dtype."""
        self.image.check(image)
        red, green, blue = image.to(torch.int64).split(1, dim=1)
        luma = (RED * red + GREEN * green + BLUE * blue + 500) // 1000
        found: Tensor = (luma * self.view.levels // self.image.levels).to(image.dtype)
        return found

    def _pixels(self) -> tuple[Tensor, Tensor]:
        """Each pixel's channels are a group."""
        return torch.arange(self.view.dims).view(self.view.shape), torch.tensor([RED, GREEN, BLUE]).view(3, 1, 1)

    def _sums(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest weighted sum of a pixel's channels, in thousandths, of each gray value."""
        gray = view.to(torch.int64).flatten(1)
        gray = torch.stack([gray, gray + 1])
        # The first luma of a bin and of the next one: ⌈gray · image levels / view levels⌉.
        luma = -(-gray * self.image.levels // self.view.levels)
        lowest, following = (1000 * luma - 500).unbind()
        return lowest, following - 1

    def known(self, known: Known) -> Known:
        """A gray value is known where its pixel is."""
        return Known(self(known.filled()), known.mask)


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """The view `grayscale`."""
    return [Component("view", "grayscale", GrayscaleConfig, GrayscaleView)]
