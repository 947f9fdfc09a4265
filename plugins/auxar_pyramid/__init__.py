"""The recursive-pyramid view: an image and its mean over small squares (paper, section 3.2)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from auxar import MOST_SIDE, Component, ImageSpec, Known, SumSupport, UserError, View, at_most, hookimpl

AUXAR_INTERFACE = 2


@attrs.frozen
class PyramidConfig:
    """The mean over factor × factor squares, rounded half up."""

    factor: int = attrs.field(default=2, validator=[attrs.validators.ge(2), at_most(MOST_SIDE)])
    """Side of the squares in pixels, 2 … 65536."""


class PyramidView(View):
    """Each pixel of the view is the mean of a square of the image: integer arithmetic, half up.

    Raises `UserError` unless the factor divides both sides of the image.
    """

    monotone = True

    def __init__(self, config: PyramidConfig, image: ImageSpec) -> None:
        self.factor = config.factor
        for side, size in (("height", image.height), ("width", image.width)):
            if size % self.factor:
                below = size - size % self.factor
                nearest = f"{below} or {below + self.factor}" if below else f"{self.factor}"
                raise UserError(
                    f"needs an image whose {side} is divisible by {self.factor}, such as {nearest}, got {image}"
                )
        self.image = image
        self.view = attrs.evolve(image, height=image.height // self.factor, width=image.width // self.factor)
        self.support = SumSupport(image, self._squares, self._sums)

    def __call__(self, image: Tensor) -> Tensor:
        """(b, c, h, w) integers to (b, c, h / factor, w / factor) integers of the same dtype and range."""
        self.image.check(image)
        # Strided sums, first over rows and then over columns, take a third of the time of a reduction over axes.
        wide = image.to(torch.int64)
        rows = functools.reduce(torch.add, (wide[:, :, i :: self.factor] for i in range(self.factor)))
        total = functools.reduce(torch.add, (rows[..., j :: self.factor] for j in range(self.factor)))
        area = self.factor**2
        # floor((2 total + area) / 2 area) is total / area rounded half up, for odd areas too.
        return ((2 * total + area) // (2 * area)).to(image.dtype)

    def _squares(self) -> tuple[Tensor, Tensor]:
        """A group of sub-pixels for each of the view's."""
        number = torch.arange(self.view.dims).view(self.view.shape)
        return number.repeat_interleave(self.factor, 1).repeat_interleave(self.factor, 2), torch.tensor(1)

    def _sums(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest sum over each square, which the mean m is of: m - ½ ≤ sum / area < m + ½."""
        area = self.factor**2
        lowest = area * view.to(torch.int64).flatten(1) - area // 2
        return lowest, lowest + area - 1

    def known(self, known: Known) -> Known:
        """A mean is known where all pixels of its square are."""
        squares = known.mask.unflatten(1, (-1, self.factor)).unflatten(3, (-1, self.factor))
        return Known(self(known.filled()), squares.all(4).all(2))


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """The view `pyramid`."""
    return [Component("view", "pyramid", PyramidConfig, PyramidView)]
