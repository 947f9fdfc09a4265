"""The interface of supports: the images with a given view X̂, described by intervals of sub-pixel values.

Each sub-pixel has an interval of possible values, given X̂ and the earlier sub-pixels. Sub-pixels are ordered by pixel
in raster order, and within a pixel by channel. A free decoder p(X | X̂) gives some probability to images with other
views, so log p(X, ψ(X)) is only a lower bound of log p(X) (Kolesnikov & Lampert 2017, equation 5). A decoder that is
restricted to these intervals gives such images no probability, so log p(X, ψ(X)) = log p(X).
"""

from __future__ import annotations

import abc

import attrs
import torch
from torch import Tensor

from auxar.interfaces.image import ImageSpec, Interval
from auxar.interfaces.known import Known


class Walk(abc.ABC):
    """Gives the interval of possible values of each sub-pixel while images with given views are drawn.

    Sub-pixels are drawn by pixel, and within a pixel by channel.

    A place is the index row · width + column of a pixel. The place height · width stands for "outside of the image",
    where every value is possible.
    """

    reach: int
    """Number of columns to the right, in the rows above, that an interval may depend on. Before a sampler draws a pixel
    in column c, it draws all pixels of the rows above up to column c + reach."""
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


class Support(abc.ABC):
    """Describes the images that have a given view by an interval of values for every sub-pixel.

    Intervals must be exact: a value lies inside if and only if it can be completed, together with the earlier
    sub-pixels, to an image with the view.
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

    def walk(self, view: Tensor, known: Known | None = None) -> Walk:
        """A new walk for drawing images with the given views (b, *view.shape), optionally with known pixels.

        Known pixels are passed to `Walk.take` in drawing order, as drawn pixels are. An implementation may use them
        earlier to narrow intervals; the default does not.
        """
        return RepeatedWalk(self, view)


class RepeatedWalk(Walk):
    """A walk for any support. It is slow: it recomputes the intervals of whole images for every sub-pixel."""

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

    def take(self, places: Tensor, channel: int, values: Tensor) -> None:
        inside = places < self.support.image.height * self.support.image.width
        self._image[:, channel].view(len(self.view), -1)[:, places[inside]] = values[inside].T


@attrs.frozen(eq=False)
class Restriction:
    """The views that drawn images must have, with their support."""

    support: Support
    """Support of the view."""
    view: Tensor
    """The views, integers (b, *view.shape)."""

    def walk(self, known: Known | None = None) -> Walk:
        """A new walk for drawing images with the views of this restriction."""
        return self.support.walk(self.view, known)


@attrs.frozen(eq=False)
class DrawnPixels:
    """The pixels of one drawing step, at n places of each of b images.

    The n · b pixels are ordered by place and then by image. A head gets intervals from `interval` and passes the drawn
    values to `take`.
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
