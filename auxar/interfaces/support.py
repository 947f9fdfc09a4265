"""Which images have a given view: an interval of possible values for each sub-pixel, given X̂ and those before it.

Sub-pixels are ordered by their pixels in raster order, and within a pixel by channel. A free decoder p(X | X̂) gives
some probability to images whose view is not X̂, and log p(X, ψ(X)) ≤ log p(X) (Kolesnikov & Lampert 2017, equation 5).
A decoder restricted to these intervals gives them none, and the two are equal.
"""

from __future__ import annotations

import abc

import attrs
import torch
from torch import Tensor

from auxar.interfaces.image import ImageSpec, Interval
from auxar.interfaces.known import Known


class Walk(abc.ABC):
    """A support while images are drawn: pixel after pixel, and within a pixel channel after channel.

    Places are numbers row · width + column of pixels; height · width stands for "outside of the image", where every
    value is possible.
    """

    reach: int
    """How many columns to the right, in rows above, an interval depends on: samplers that draw many rows at once keep
    that distance."""

    @abc.abstractmethod
    def interval(self, places: Tensor, channel: int) -> Interval:
        """The possible values of a channel of the pixels at places (n,) in each image: (n, b).

        All sub-pixels before it have been taken.
        """

    @abc.abstractmethod
    def take(self, places: Tensor, channel: int, values: Tensor) -> None:
        """Records the drawn values of that channel of those pixels: int64, (n, b)."""


class Support(abc.ABC):
    """An interval for every sub-pixel. It is exact: each value inside can be completed to an image of that view, and
    none outside can.
    """

    image: ImageSpec

    @abc.abstractmethod
    def intervals(self, image: Tensor, view: Tensor) -> Interval:
        """The possible values of every sub-pixel of `image`, integers (b, *image.shape), in the same shape.

        They follow from the image's view and the sub-pixels before.

        Intervals after a value outside of its own, as in an image of another view, are meaningless.
        """

    def walk(self, view: Tensor, known: Known | None = None) -> Walk:
        """The possible values while images are drawn given these views, (b, *view.shape), some pixels perhaps known.

        Known pixels are taken when their turn comes. A walk may look ahead to them; this one does not.
        """
        return RepeatedWalk(self, view)


class RepeatedWalk(Walk):
    """A walk along any support, which computes the intervals of whole images again at every channel of every pixel."""

    def __init__(self, support: Support, view: Tensor) -> None:
        self.support = support
        self.view = view
        # A support may depend on every pixel of the rows above, so all of them have to be complete.
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
    """A support together with the views, (b, *view.shape), that the drawn images must have."""

    support: Support
    view: Tensor

    def walk(self, known: Known | None = None) -> Walk:
        """A new walk along the support for these views."""
        return self.support.walk(self.view, known)


@attrs.frozen(eq=False)
class DrawnPixels:
    """Pixels that are drawn together along a walk, one of each place in each image: n · b in all."""

    walk: Walk
    levels: int
    places: Tensor
    """(n,), numbered as in `Walk`."""
    limits: Interval | None = None
    """Lowest and highest allowed values, whatever the view: (n · b, c) each, equal for a known pixel."""

    def interval(self, channel: int) -> Interval:
        """The possible values of a channel, once those before it are taken: (n · b,), never empty.

        Known pixels that contradict the view may leave no value possible: the interval is then the value that is
        nearest to the empty one.
        """
        found = self.walk.interval(self.places, channel)
        low = found.low.flatten().clamp(0, self.levels - 1)
        high = torch.maximum(found.high.flatten().clamp(max=self.levels - 1), low)
        if self.limits is not None:
            lowest, highest = self.limits.low[:, channel], self.limits.high[:, channel]
            low, high = low.clamp(lowest, highest), high.clamp(lowest, highest)
        return Interval(low, high)

    def take(self, channel: int, values: Tensor) -> None:
        """Takes what was drawn: int64, (n · b,)."""
        self.walk.take(self.places, channel, values.view(len(self.places), -1))
