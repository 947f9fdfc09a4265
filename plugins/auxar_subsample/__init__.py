"""The subsampled view: an image and every n-th of its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from auxar import MOST_SIDE, Component, ImageSpec, Known, SumSupport, View, at_most, hookimpl

AUXAR_INTERFACE = 2


@attrs.frozen
class SubsampleConfig:
    """Every factor-th pixel in rows and columns, from the first one on."""

    factor: int = attrs.field(default=2, validator=[attrs.validators.ge(2), at_most(MOST_SIDE)])
    """Distance between kept pixels, 2 … 65536."""


class SubsampleView(View):
    """Pixel (r, c) of the view is pixel (r · factor, c · factor) of the image, as it is.

    Fits every image: where the factor does not divide a side, the view's is rounded up. The embedding `resnet` in
    contrast needs sides that it divides.
    """

    monotone = True

    def __init__(self, config: SubsampleConfig, image: ImageSpec) -> None:
        self.factor = config.factor
        self.image = image
        self.view = attrs.evolve(image, height=-(-image.height // self.factor), width=-(-image.width // self.factor))
        self.support = SumSupport(image, self._each, self._values)

    def __call__(self, image: Tensor) -> Tensor:
        """(b, c, h, w) integers to (b, c, ⌈h / factor⌉, ⌈w / factor⌉) integers of the same dtype and range."""
        self.image.check(image)
        # A copy, so that the view neither shares its memory with the image nor keeps it alive.
        return image[..., :: self.factor, :: self.factor].clone(memory_format=torch.contiguous_format)

    def _each(self) -> tuple[Tensor, Tensor]:
        """Every sub-pixel by itself."""
        return torch.arange(self.image.dims).view(self.image.shape), torch.tensor(1)

    def _values(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest value of every sub-pixel: its own if the view keeps it, else any."""
        lowest = torch.zeros((len(view), *self.image.shape), dtype=torch.int64, device=view.device)
        highest = torch.full_like(lowest, self.image.levels - 1)
        for values in (lowest, highest):
            values[..., :: self.factor, :: self.factor] = view
        return lowest.flatten(1), highest.flatten(1)

    def known(self, known: Known) -> Known:
        """A pixel of the view is known where it is in the image."""
        return Known(self(known.filled()), known.mask[:, :: self.factor, :: self.factor])


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """The view `subsample`."""
    return [Component("view", "subsample", SubsampleConfig, SubsampleView)]
