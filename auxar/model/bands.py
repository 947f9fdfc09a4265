"""Bands of rows, in which images are coded, so that the values inside of networks take memory for one band alone."""

import functools
import math

import attrs

from auxar.model.conditional import Conditional
from auxar.model.factor import Factor
from auxar.model.values import Values, variable_at

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

    def given(self, values: Values) -> Conditional:
        """The distribution of the rows that the network sees, given the views and conditions of whole images."""
        around = self.around.given(self._rows_of(values, self.bottom))
        features = None if around.features is None else around.features[:, :, : self.stop - self.first]
        view = self._rows_of(values, self.stop).get(self.view)
        return attrs.evolve(
            around,
            spec=self.factor.image,
            distribution=self.factor.distribution,
            features=features,
            support=self.factor.given_view(view),
        )

    @property
    def view(self) -> str:
        """Name of the view that the factor is given, if it has one."""
        return variable_at(self.factor.depth + 1)

    def _rows_of(self, values: Values, stop: int) -> Values:
        """The values with those rows of the view that belong to the image's rows first … stop - 1."""
        view = values.get(self.view)
        return values | {
            self.view: None if view is None else view[:, :, self.first // self.scale : -(-stop // self.scale)]
        }


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
