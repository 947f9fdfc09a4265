"""Bands of rows, in which images are coded, so that the values inside of networks take memory for one band alone."""

import functools
import math

import attrs
from torch import Tensor

from auxar.model.factor import Factor
from auxar.model.support import GivenView

PIXELS = 2**15
"""Approximate number of pixels of a band."""
CONTEXT = 16
"""Number of rows above a band, and for embeddings also below it, that its networks see."""


@attrs.frozen(eq=False)
class Band:
    """Some rows of a factor's images, as images of the same factor at another size.

    Networks compute the parameters of the rows from `start` on, and see the rows from `first` on. If they see at most
    `CONTEXT` rows above a pixel, the parameters are those of the whole images; otherwise they are nearly the same.
    """

    factor: Factor
    """The factor of the rows first … stop - 1."""
    first: int
    """The first row that the network sees."""
    start: int
    """The first row that belongs to the band. Earlier rows belong to earlier bands."""
    stop: int
    """The row after the last one."""
    around: Factor
    """The factor of the rows first … bottom - 1, which the embedding sees."""
    bottom: int
    """The row after the last one that the embedding sees."""
    scale: int
    """Number of rows of the image for each row of the view."""

    def features(self, count: int, view: Tensor | None, condition: Tensor | None) -> Tensor | None:
        """The features of `count` whole views and conditions in the rows of the network: (count, channels, h, w)."""
        found = self.around.features(count, self._rows_of(view, self.bottom), condition)
        return None if found is None else found[:, :, : self.stop - self.first]

    def given(self, view: Tensor | None) -> GivenView | None:
        """The part of whole views that belongs to the rows of the network, with its support."""
        return self.factor.given(self._rows_of(view, self.stop))

    def _rows_of(self, view: Tensor | None, stop: int) -> Tensor | None:
        return None if view is None else view[:, :, self.first // self.scale : -(-stop // self.scale)]


def bands_of(factor: Factor) -> list[Band]:
    """Divides the images of a factor into bands of about `PIXELS` pixels, from top to bottom.

    There is one band if the factor has one size, or if its view or its condition cannot be divided into rows.
    """
    image = factor.image
    scale = _scale(factor)
    unit = math.lcm(CONTEXT, scale or 1)
    size = max(4 * unit, PIXELS // image.width // unit * unit)
    if not factor.any_size or scale is None or image.height <= size:
        return [Band(factor, 0, 0, image.height, factor, image.height, scale or 1)]

    @functools.cache
    def of_height(height: int) -> Factor:
        return factor.at(attrs.evolve(image, height=height))

    found = []
    for start in range(0, image.height, size):
        first, stop = max(0, start - unit), min(start + size, image.height)
        bottom = min(stop + unit, image.height)
        found.append(Band(of_height(stop - first), first, start, stop, of_height(bottom - first), bottom, scale))
    return found


def _scale(factor: Factor) -> int | None:
    """The number of rows of the image for each row of the view, 1 without one; None if rows cannot be divided."""
    if factor.condition is not None and factor.condition.spec.height > 1:
        return None
    if factor.view is None:
        return 1
    scale = factor.view.stride[0]
    return scale if factor.view.view.height == -(-factor.image.height // scale) else None
