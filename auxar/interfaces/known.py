"""Known pixels, which are held fixed while the other pixels are drawn."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.arguments import described
from auxar.errors import UserError
from auxar.interfaces.image import ImageSpec, Interval


@attrs.frozen(eq=False)
class Known:
    """Known pixels for image completion: they are held fixed while the other pixels are drawn.

    A causal network conditions a pixel only on earlier pixels in raster order. A known pixel therefore influences the
    pixels before it only through a restriction or the views of a chain.
    """

    values: Tensor
    """Values of the known pixels, integers (b, c, h, w). Values where `mask` is false are ignored."""
    mask: Tensor
    """Booleans (b, h, w), true where a pixel is known. All channels of such a pixel are known."""
    limits: Interval | None = None
    """Lowest and highest allowed values of the other pixels, integers (b, c, h, w); None allows all values."""

    def check(self, image: ImageSpec, count: int) -> None:
        """Raises `UserError` unless values, mask and limits fit `count` images of the shape and range of `image`."""
        image.check(self.values, "known values")
        if not isinstance(self.mask, Tensor):
            raise UserError(f"known mask: expected a tensor of booleans, got {described(self.mask)}")
        if self.mask.dtype != torch.bool or tuple(self.mask.shape) != (count, image.height, image.width):
            found = f"{self.mask.dtype} of shape {tuple(self.mask.shape)}"
            raise UserError(f"known mask: expected booleans of shape {(count, image.height, image.width)}, got {found}")
        if len(self.values) != count:
            raise UserError(
                f"known values: expected {count} images (one for each image to draw), got {len(self.values)}"
            )
        image.check_range(self.filled(), "known values")
        if self.limits is None:
            return
        for name, values in (("lowest", self.limits.low), ("highest", self.limits.high)):
            if values.shape != self.values.shape:
                expected = tuple(self.values.shape)
                raise UserError(f"known limits ({name}): expected shape {expected}, got {tuple(values.shape)}")
        lowest, highest = self.lowest(), self.highest(image.levels)
        image.check_range(lowest, "known limits (lowest)")
        image.check_range(highest, "known limits (highest)")
        if (empty := lowest > highest).any():
            at = tuple(empty.nonzero()[0].tolist())
            low, high = int(lowest[at]), int(highest[at])
            raise UserError(f"known limits: the lowest value {low} is above the highest value {high} at index {at}")

    def filled(self) -> Tensor:
        """The values, with zeros where the mask is false."""
        return torch.where(self.mask[:, None], self.values, torch.zeros_like(self.values))

    def lowest(self) -> Tensor:
        """The lowest allowed value of every sub-pixel, (b, c, h, w). For a known pixel, it is the pixel's value."""
        other = torch.zeros_like(self.values) if self.limits is None else self.limits.low
        return torch.where(self.mask[:, None], self.values, other)

    def highest(self, levels: int) -> Tensor:
        """The highest allowed value of every sub-pixel, (b, c, h, w). For a known pixel, it is the pixel's value."""
        other = torch.full_like(self.values, levels - 1) if self.limits is None else self.limits.high
        return torch.where(self.mask[:, None], self.values, other)

    def of(self, images: slice) -> Known:
        """The known pixels of a slice of the images."""
        return Known(self.values[images], self.mask[images], self.limits and self.limits.of(images))
