"""The pyramid view: a smaller image, whose pixels are means over small squares of the image (paper, section 3.2)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from auxar import MOST_SIDE, Component, ImageSpec, Known, SumSupport, UserError, View, at_most, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class PyramidConfig:
    """A smaller image: the mean over squares of factor × factor pixels, rounded half up."""

    factor: int = attrs.field(default=2, validator=[attrs.validators.ge(2), at_most(MOST_SIDE)])
    """Side of the squares in pixels, 2 … 65536. It must divide the height and width of the image."""


class PyramidView(View):
    """A view whose pixels are means over squares of the image, computed in integer arithmetic and rounded half up.

    Raises `UserError` if the factor does not divide the height and width of the image.
    """

    monotone = True

    def __init__(self, config: PyramidConfig, image: ImageSpec) -> None:
        self.factor = config.factor
        for side, size in (("height", image.height), ("width", image.width)):
            if size % self.factor:
                below = size - size % self.factor
                nearest = f"{below} or {below + self.factor}" if below else f"{self.factor}"
                raise UserError(
                    f"the {side} must be divisible by factor = {self.factor} (nearest: {nearest}), got {image}"
                )
        self.image = image
        self.view = attrs.evolve(image, height=image.height // self.factor, width=image.width // self.factor)
        self.support = SumSupport(image, self._squares, self._sums)

    def __call__(self, image: Tensor) -> Tensor:
        """Computes the view: integers (b, c, h, w) give integers (b, c, h / factor, w / factor).

        Dtype and range stay the same.
        """
        self.image.check(image)
        # Adding strided slices, first of rows and then of columns, takes a third of the time of `sum` over dimensions.
        wide = image.to(torch.int64)
        rows = functools.reduce(torch.add, (wide[:, :, i :: self.factor] for i in range(self.factor)))
        total = functools.reduce(torch.add, (rows[..., j :: self.factor] for j in range(self.factor)))
        area = self.factor**2
        # floor((2 · total + area) / (2 · area)) is total / area rounded half up, also if the area is odd.
        return ((2 * total + area) // (2 * area)).to(image.dtype)

    def _squares(self) -> tuple[Tensor, Tensor]:
        """The groups and weights for `SumSupport`: a square of sub-pixels is a group, with weight 1."""
        number = torch.arange(self.view.dims).view(self.view.shape)
        return number.repeat_interleave(self.factor, 1).repeat_interleave(self.factor, 2), torch.tensor(1)

    def _sums(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest sum over each square that give the mean m: m - ½ ≤ sum / area < m + ½."""
        area = self.factor**2
        lowest = area * view.to(torch.int64).flatten(1) - area // 2
        return lowest, lowest + area - 1

    def known(self, known: Known) -> Known:
        """The known pixels of the view: a pixel is known if all pixels of its square are known."""
        squares = known.mask.unflatten(1, (-1, self.factor)).unflatten(3, (-1, self.factor))
        return Known(self(known.filled()), squares.all(4).all(2))


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the view `pyramid`."""
    return [Component("view", "pyramid", PyramidConfig, PyramidView)]
