"""The subsampled view: every n-th pixel of an image in both directions."""

from collections.abc import Sequence
from typing import Self

import attrs
import torch
from torch import Tensor

from auxar import MOST_SIDE, Component, ImageSpec, Known, SumSupport, View, at_most, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class SubsampleConfig:
    """Every factor-th row and column of the image, starting with the first."""

    factor: int = attrs.field(default=2, validator=[attrs.validators.ge(2), at_most(MOST_SIDE)])
    """Distance between kept pixels, 2 … 65536."""


class SubsampleView(View):
    """A view whose pixel (r, c) equals pixel (r · factor, c · factor) of the image.

    Every image size is supported. The height and width of the view are those of the image divided by the factor and
    rounded up.
    """

    monotone = True
    any_size = True

    def __init__(self, config: SubsampleConfig, image: ImageSpec) -> None:
        self.factor = config.factor
        self.image = image
        self.view = attrs.evolve(image, height=-(-image.height // self.factor), width=-(-image.width // self.factor))
        self.support = SumSupport(image, self._each, self._values, self._interpolated)

    def at(self, image: ImageSpec) -> Self:
        return type(self)(SubsampleConfig(self.factor), image)

    @property
    def stride(self) -> tuple[int, int]:
        return self.factor, self.factor

    def __call__(self, image: Tensor) -> Tensor:
        """Computes the view: integers (b, c, h, w) give integers (b, c, ⌈h / factor⌉, ⌈w / factor⌉).

        Dtype and range stay the same.
        """
        self.image.check(image)
        # A copy, so that the view neither shares its memory with the image nor keeps it alive.
        return image[..., :: self.factor, :: self.factor].clone(memory_format=torch.contiguous_format)

    def _each(self) -> tuple[Tensor, Tensor]:
        """The groups and weights for `SumSupport`: each sub-pixel is a group of its own, with weight 1."""
        return torch.arange(self.image.dims).view(self.image.shape), torch.tensor(1)

    def _values(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest possible value of every sub-pixel.

        Both are the value of the view if the view keeps the sub-pixel, otherwise 0 and levels - 1.
        """
        lowest = torch.zeros((len(view), *self.image.shape), dtype=torch.int64, device=view.device)
        highest = torch.full_like(lowest, self.image.levels - 1)
        for values in (lowest, highest):
            values[..., :: self.factor, :: self.factor] = view
        return lowest.flatten(1), highest.flatten(1)

    def _interpolated(self, view: Tensor) -> Tensor:
        """Twice the bilinear interpolation of the view at every sub-pixel, rounded down.

        Beyond its last row and its last column, the view is repeated.
        """
        found = view.to(torch.int64)
        for dim, side in ((2, self.image.height), (3, self.image.width)):
            places = torch.arange(side, device=view.device)
            share = (places % self.factor).view(-1, *[1] * (3 - dim))
            before = places // self.factor
            after = (before + 1).clamp(max=view.shape[dim] - 1)
            ends = found.index_select(dim, before), found.index_select(dim, after)
            found = ends[0] * (self.factor - share) + ends[1] * share
        return (2 * found // self.factor**2).flatten(1)

    def known(self, known: Known) -> Known:
        """The known pixels of the view: a pixel is known if it is known in the image."""
        return Known(self(known.filled()), known.mask[:, :: self.factor, :: self.factor])


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the view `subsample`."""
    return [Component("view", "subsample", SubsampleConfig, SubsampleView)]
