"""Pixels that are given and held fixed while the others are drawn."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.interfaces.image import ImageSpec, Interval


@attrs.frozen(eq=False)
class Known:
    """Pixels that are given and held fixed while the others are drawn given them: image completion.

    The pixels before a given one in raster order are drawn as if it were not there: the model predicts forwards only.
    """

    values: Tensor
    """Integers, (b, c, h, w); values where the mask is false are ignored."""
    mask: Tensor
    """Booleans, (b, h, w): true where a pixel, with all of its channels, is given."""
    limits: Interval | None = None
    """Lowest and highest allowed values of the other pixels, integers (b, c, h, w); None allows all."""

    def check(self, image: ImageSpec, count: int) -> None:
        """Raises `UserError` unless there are values and a mask for `count` images as `image` describes them."""
        image.check(self.values, "known values")
        if self.mask.dtype != torch.bool or tuple(self.mask.shape) != (count, image.height, image.width):
            found = f"{self.mask.dtype} of shape {tuple(self.mask.shape)}"
            raise UserError(f"known mask: expected booleans of shape {(count, image.height, image.width)}, got {found}")
        if len(self.values) != count:
            raise UserError(
                f"known values: expected {count} images, one for each that is drawn, got {len(self.values)}"
            )
        image.check_range(self.filled(), "known values")
        if self.limits is None:
            return
        for name, values in (("lowest", self.limits.low), ("highest", self.limits.high)):
            if values.shape != self.values.shape:
                expected = tuple(self.values.shape)
                raise UserError(f"{name} values: expected those of {expected}, got {tuple(values.shape)}")
        lowest, highest = self.lowest(), self.highest(image.levels)
        image.check_range(lowest, "lowest values")
        image.check_range(highest, "highest values")
        if (empty := lowest > highest).any():
            at = tuple(empty.nonzero()[0].tolist())
            low, high = int(lowest[at]), int(highest[at])
            raise UserError(f"lowest values: expected none above the highest, got {low} above {high} at {at}")

    def filled(self) -> Tensor:
        """The values, zeros where the mask is false."""
        return torch.where(self.mask[:, None], self.values, torch.zeros_like(self.values))

    def lowest(self) -> Tensor:
        """The lowest allowed value of every sub-pixel, (b, c, h, w): the given one where it is known."""
        other = torch.zeros_like(self.values) if self.limits is None else self.limits.low
        return torch.where(self.mask[:, None], self.values, other)

    def highest(self, levels: int) -> Tensor:
        """The highest allowed value of every sub-pixel, (b, c, h, w): the given one where it is known."""
        other = torch.full_like(self.values, levels - 1) if self.limits is None else self.limits.high
        return torch.where(self.mask[:, None], self.values, other)

    def of(self, images: slice) -> Known:
        """The known pixels of some of the images."""
        return Known(self.values[images], self.mask[images], self.limits and self.limits.of(images))
