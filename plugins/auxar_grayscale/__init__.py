"""The quantized grayscale view (paper, section 3.1)."""

from collections.abc import Sequence
from typing import Self

import attrs
import torch
from torch import Tensor

from auxar import Component, ImageSpec, Known, SumSupport, UserError, View, hookimpl

AUXAR_INTERFACE = 1


# The weights of ITU-R BT.601 luma, in thousandths. Integers make the view identical on every machine.
RED, GREEN, BLUE = 299, 587, 114


@attrs.frozen
class GrayscaleConfig:
    """A gray image: the luma of each pixel, rounded half up and quantized to `levels` gray values."""

    levels: int = attrs.field(default=16, validator=attrs.validators.ge(2))
    """Number of gray values of the view, from 2 to the levels of the image. The paper uses 16 (4 bits)."""


class GrayscaleView(View):
    """A view with one channel of `levels` gray values.

    The luma is rounded half up to an integer and then quantized, rounding down, all in integer arithmetic. Raises
    `UserError` if the image does not have three channels, or has fewer levels than the view.
    """

    monotone = True
    any_size = True

    def __init__(self, config: GrayscaleConfig, image: ImageSpec) -> None:
        if image.channels != 3:
            raise UserError(f"the image must have 3 channels (red, green, blue), got {image}")
        if config.levels > image.levels:
            raise UserError(f"levels must be at most {image.levels}, the levels of the image, got {config.levels}")
        self.image = image
        self.view = ImageSpec(channels=1, height=image.height, width=image.width, levels=config.levels)
        self.support = SumSupport(image, self._pixels, self._sums)

    def at(self, image: ImageSpec) -> Self:
        return type(self)(GrayscaleConfig(self.view.levels), image)

    def __call__(self, image: Tensor) -> Tensor:
        """Computes the view: integers (b, 3, h, w) give integers (b, 1, h, w) in [0, levels) of the same dtype."""
        self.image.check(image)
        red, green, blue = image.to(torch.int64).split(1, dim=1)
        luma = (RED * red + GREEN * green + BLUE * blue + 500) // 1000
        found: Tensor = (luma * self.view.levels // self.image.levels).to(image.dtype)
        return found

    def _pixels(self) -> tuple[Tensor, Tensor]:
        """The groups and weights for `SumSupport`: the channels of a pixel are a group, with their luma weights."""
        return torch.arange(self.view.dims).view(self.view.shape), torch.tensor([RED, GREEN, BLUE]).view(3, 1, 1)

    def _sums(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest weighted sum of channels, in thousandths, that give each gray value."""
        gray = view.to(torch.int64).flatten(1)
        gray = torch.stack([gray, gray + 1])
        # The smallest luma that gives a gray value is ⌈gray · image levels / view levels⌉. The largest is one less than
        # the smallest luma of the next gray value.
        luma = -(-gray * self.image.levels // self.view.levels)
        lowest, following = (1000 * luma - 500).unbind()
        return lowest, following - 1

    def known(self, known: Known) -> Known:
        """The known pixels of the view: a pixel is known if it is known in the image."""
        return Known(self(known.filled()), known.mask)


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the view `grayscale`."""
    return [Component("view", "grayscale", GrayscaleConfig, GrayscaleView)]
