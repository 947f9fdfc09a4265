"""The interface of supports: what a view X̂ says about the values of an image's sub-pixels.

Each sub-pixel has an interval of possible values, given X̂ and the earlier sub-pixels. Sub-pixels are ordered by pixel
in raster order, and within a pixel by channel. A free decoder p(X | X̂) gives some probability to images with other
views, so log p(X, ψ(X)) is only a lower bound of log p(X) (Kolesnikov & Lampert 2017, equation 5). A decoder that is
restricted to these intervals gives such images no probability, so log p(X, ψ(X)) = log p(X).

A support may also give the center of each sub-pixel: a value near which the sub-pixel is expected, given X̂ and the
earlier pixels. Heads place their distributions around it (see `Head.around`), restricted or not.
"""

import abc
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.model.image import ImageSpec, Interval, Known

CENTER_BITS = 20
"""Centers are integers in units of 2⁻²⁰ on a scale from -1 to 1: -2²⁰ is the value 0, and 2²⁰ the largest value."""


class Walk(abc.ABC):
    """Gives the interval of possible values and the center of each sub-pixel while images with given views are drawn.

    Sub-pixels are drawn by pixel, and within a pixel by channel.

    A place is the index row · width + column of a pixel. The place height · width stands for "outside of the image",
    where every value is possible.
    """

    reach: int
    """Number of columns to the right, in the rows above, that an interval or a center may depend on. Before a sampler
    draws a pixel in column c, it draws all pixels of the rows above up to column c + reach."""
    in_place: bool = False
    """Whether the methods change the walk's state only by operations in place, and never read a tensor's values on the
    host. A GPU can then repeat recorded steps of drawing (see `PixelSource.in_place`)."""

    @abc.abstractmethod
    def interval(self, places: Tensor, channel: int) -> Interval:
        """The possible values of one channel at places (n,) of each of b images: int64, (n, b).

        The caller must first pass to `take` the earlier channels of these pixels, all pixels to their left, and all
        pixels of the rows above up to `reach` columns to their right.
        """

    @abc.abstractmethod
    def take(self, places: Tensor, channel: int, values: Tensor) -> None:
        """Records the values of one channel that were drawn at places (n,): int64, (n, b)."""

    def centers(self, places: Tensor) -> Tensor | None:
        """The centers of the sub-pixels at places (n,), as `Support.centers` gives them: int64, (n, b, c).

        The caller must first pass to `take` the pixels to their left and those of the rows above up to `reach`, but no
        channel of the pixels themselves. Pixels that are known in advance do not change a center. The default returns
        None: there are no centers.
        """
        return None


class Support(abc.ABC):
    """Describes the images with a given view by an interval of values for every sub-pixel, and optionally a center.

    Intervals must be exact: a value lies inside if and only if it can be completed, together with the earlier
    sub-pixels, to an image with the view. Centers may be any function of the view and the earlier pixels.
    """

    image: ImageSpec
    """Shape and range of the images."""

    @abc.abstractmethod
    def intervals(self, image: Tensor, view: Tensor) -> Interval:
        """The possible values of every sub-pixel, given `view` and the earlier sub-pixels of `image`.

        `image` has integers of shape (b, *image.shape), and `view` has integers of shape (b, *view.shape). The result
        is int64, with the shape of `image`. If a value of `image` lies outside of its interval, because the image has
        another view, the intervals of later sub-pixels are meaningless.
        """

    def centers(self, image: Tensor, view: Tensor) -> Tensor | None:
        """The center of every sub-pixel, given `view` and the earlier pixels of `image`: int64, shape of `image`.

        Centers are in units of 2⁻²⁰ (`CENTER_BITS`) on the scale from -1 to 1, so they lie in -2²⁰ … 2²⁰. Integers make
        them the same in every arithmetic and on every machine. The center of a channel does not depend on other
        channels of its pixel. If `image` has another view, centers need not be near its values, but must still lie in
        this range. The arguments are those of `intervals`. The default returns None: the support knows no centers.
        """
        return None

    def walk(self, view: Tensor, known: Known | None = None) -> Walk:
        """A new walk for drawing images with the given views (b, *view.shape), optionally with known pixels.

        Known pixels are passed to `Walk.take` in drawing order, as drawn pixels are. An implementation may use them
        earlier to narrow intervals; the default does not.
        """
        return RepeatedWalk(self, view)


class RepeatedWalk(Walk):
    """A walk for any support. It is slow: it computes the intervals of whole images again for every sub-pixel."""

    def __init__(self, support: Support, view: Tensor) -> None:
        self.support = support
        self.view = view
        # An interval may depend on every pixel of the rows above, so these rows must be complete.
        self.reach = support.image.width
        self._image = view.new_zeros((len(view), *support.image.shape), dtype=torch.int64)

    def interval(self, places: Tensor, channel: int) -> Interval:
        found = self.support.intervals(self._image, self.view)
        inside = (places < self.support.image.height * self.support.image.width)[:, None]
        places = places.clamp(max=self.support.image.height * self.support.image.width - 1)
        low, high = (values[:, channel].flatten(1)[:, places].T for values in (found.low, found.high))
        return Interval(torch.where(inside, low, 0), torch.where(inside, high, self.support.image.levels - 1))

    def centers(self, places: Tensor) -> Tensor | None:
        found = self.support.centers(self._image, self.view)
        places = places.clamp(max=self.support.image.height * self.support.image.width - 1)
        return None if found is None else found.flatten(2)[:, :, places].permute(2, 0, 1)

    def take(self, places: Tensor, channel: int, values: Tensor) -> None:
        inside = places < self.support.image.height * self.support.image.width
        self._image[:, channel].view(len(self.view), -1)[:, places[inside]] = values[inside].T


@attrs.frozen(eq=False)
class GivenView:
    """Views that a decoder is given, their support, and whether it is restricted to images with these views."""

    support: Support
    """Support of the view."""
    view: Tensor
    """The views, integers (b, *view.shape)."""
    restricted: bool = False
    """Whether only images with these views have a probability above 0."""

    @property
    def has_centers(self) -> bool:
        """Whether the support gives centers."""
        first = self.view[:1]
        return self.support.centers(first.new_zeros((len(first), *self.support.image.shape)), first) is not None

    def interval(self, image: Tensor) -> Interval:
        """The possible values of every sub-pixel, as `Support.intervals` gives them."""
        return self.support.intervals(image, self.view)

    def centers(self, image: Tensor) -> Tensor | None:
        """The center of every sub-pixel, as `Support.centers` gives it."""
        return self.support.centers(image, self.view)

    def walk(self, known: Known | None = None) -> Walk:
        """A new walk for drawing images that are given these views."""
        return self.support.walk(self.view, known)


@attrs.frozen(eq=False)
class DrawnPixels:
    """The pixels of one drawing step: gives the interval of each channel and records the drawn values.

    The n · b pixels, at n places of each of b images, are ordered by place and then by image. A head gets intervals
    from `interval` and passes the drawn values to `take`.
    """

    walk: Walk
    """The walk, which gives the intervals of the view."""
    levels: int
    """Number of values that a sub-pixel can take."""
    places: Tensor
    """Places of the pixels, row · width + column, int64, shape (n,)."""
    limits: Interval | None = None
    """Lowest and highest allowed values in addition to the walk's intervals, (n · b, c) each. For a known pixel, both
    are its value. None allows all values."""

    def interval(self, channel: int) -> Interval:
        """The possible values of a channel, int64, shape (n · b,). The interval is never empty.

        Call it after the earlier channels were passed to `take`. If known pixels contradict the view, there may be no
        possible value. The interval is then a single value within the limits, as close to the view's interval as
        possible.
        """
        found = self.walk.interval(self.places, channel)
        low = found.low.flatten().clamp(0, self.levels - 1)
        high = torch.maximum(found.high.flatten().clamp(max=self.levels - 1), low)
        if self.limits is not None:
            lowest, highest = self.limits.low[:, channel], self.limits.high[:, channel]
            low, high = low.clamp(lowest, highest), high.clamp(lowest, highest)
        return Interval(low, high)

    def take(self, channel: int, values: Tensor) -> None:
        """Records the drawn values of a channel: int64, (n · b,)."""
        self.walk.take(self.places, channel, values.view(len(self.places), -1))


def center(twice: Tensor, most: Any) -> Tensor:
    """The center of a sub-pixel: (twice - most) / most in units of 2⁻²⁰, limited to -2²⁰ … 2²⁰ and rounded down.

    `twice` is twice the sum that is expected of this and later pixels of a group, and `most` the largest sum that they
    can have, a tensor or a number below 2⁵³.
    """
    # The quotient is computed with half of the bits at a time, so that no product overflows.
    half = 2 ** (CENTER_BITS // 2)
    scaled = (twice - most).clamp(-most, most) * half
    first = scaled // most
    found: Tensor = first * half + (scaled - first * most) * half // most
    return found
