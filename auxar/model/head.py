"""The interfaces of likelihood heads, which define a pixel's distribution given parameters of a network."""

from __future__ import annotations

import abc
import copy
import numbers
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from torch import Tensor

from auxar.errors import UserError, did_you_mean, shown
from auxar.model.image import Interval
from auxar.model.rule import Adjustments
from auxar.model.support import DrawnPixels


class Head(abc.ABC):
    """The distribution of one pixel given the parameters that a causal network predicts for it.

    The result for a pixel depends only on the pixel's own parameters, values, intervals and noise. The axes b, h and w
    of the arguments can therefore have any size. A head has the same results for equal arguments, and does not change
    them. `auxar.testing.check_head` checks this and the rules of each method.
    """

    parameter_count: int
    """Number of predicted values per pixel."""
    uniform_count: int
    """Number of uniform random values that drawing one pixel takes."""
    understands: Collection[str] | None = None
    """The names of the `Adjustments` that change what the head draws. With None, it is unknown which of them the head
    understands. A rule that no head of a model understands is refused."""
    centered: bool = False
    """Whether the head uses centers. Its parameters are then passed to `around` before all other methods."""
    neighbors: bool = False
    """Whether `around` of a centered head gets, after the centers, the values of three neighbors, left, above, and
    above-left, in the unit of centers: `centers` then has 4 · c channels."""
    limitable: Mapping[str, Sequence[float]] = MappingProxyType({})
    """The kinds of parameters that can get an upper limit, by name: at least two limits of each, from the highest to
    the lowest. Training chooses the lowest of them that costs the training images hardly any bits."""
    limits: Mapping[str, float] = MappingProxyType({})
    """The upper limits that this head keeps to, by name; `bounded` sets them. A kind without a limit is not limited."""

    @abc.abstractmethod
    def log_prob(self, parameters: Tensor, image: Tensor) -> Tensor:
        """Computes the log-likelihood of each pixel in nats, float32 or float64, shape (b, h, w).

        `parameters` has shape (b, parameter_count, h, w), and `image` has integers of shape (b, c, h, w). Parameters in
        bfloat16 are converted to float32 first.
        """

    def channel_log_prob(self, parameters: Tensor, image: Tensor) -> Tensor | None:
        """Computes the log-likelihood of each channel given the channels before it, in nats, shape (b, c, h, w).

        The sum over channels equals `log_prob`. The default returns None, which stands for a distribution without a
        closed form for single channels.
        """
        return None

    def initial_parameters(self, image: Tensor, centers: Tensor | None = None) -> Tensor | None:
        """Chooses the parameters that a new network predicts for every pixel, before it is trained: (parameter_count,).

        Their distribution should be near that of the pixels of `image`, a batch of integers (b, c, h, w). Training then
        begins with the distribution of colors and learns the dependence on other pixels. If `centers` are given, int64
        of shape (b, c, h, w), or (b, 4 · c, h, w) with `neighbors`, the distribution should be near that of the
        differences between values and centers, because `around` adds the centers. A network may call this when it is
        initialized. The default returns None, which lets random weights decide.
        """
        return None

    def around(self, parameters: Tensor, centers: Tensor) -> Tensor:
        """Returns the parameters of the distributions after they are moved to the centers.

        `parameters` has shape (b, parameter_count, …), and `centers` has the center of each channel, int64 of shape
        (b, c, …), in units of 2⁻²⁰ on the scale from -1 to 1. They come from the view (see `Support.centers`) or,
        without a support, from the neighbors of the pixel (`neighbor_centers`). The result has the shape of
        `parameters`, and their dtype or a wider one; it is not bfloat16. The default returns the parameters unchanged.
        """
        return parameters

    def integer_head(self) -> Head | None:
        """The `IntegerHead` with the same distributions for integer parameters, or None, the default, if there is none.

        Its parameters are those of this head times 2²⁰, rounded.
        """
        return None

    def bounded(self, limits: Mapping[str, float]) -> Self:
        """The same head with upper limits of its parameters by name, `limits`, in place of its present ones.

        A network extrapolates if its context is unlike all training images. If log-scales can then grow without a
        limit, an error in a drawn image causes larger ones. Likelihoods and draws are both those of the limited
        distribution.

        Raises `UserError` for a name that is not in `limitable`, or a value outside of its range.
        """
        if not isinstance(limits, Mapping):
            raise UserError(f"limits: expected numbers by name, such as {{'log_scales': -2.0}}, got {shown(limits)}")
        for name, value in limits.items():
            if name not in self.limitable:
                raise UserError(
                    f"{type(self).__name__} has no limit {shown(name)}{did_you_mean(str(name), self.limitable)}"
                )
            highest, *_, lowest = self.limitable[name]
            is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not is_number or not lowest <= value <= highest:
                raise UserError(f"limit {name}: expected a number from {lowest:g} to {highest:g}, got {shown(value)}")
        head = copy.copy(self)
        head.limits = {name: float(value) for name, value in limits.items()}
        return head

    def adjusted(self, adjustments: Adjustments) -> Head:
        """The head whose likelihoods are those of the distributions that `draw` and `draw_restricted` adjust.

        Its own draws are not adjusted, because they take adjustments themselves. The default returns this head if it
        understands none of the adjustments. Raises `UserError` if likelihoods cannot be computed.
        """
        changing = [name for name in adjustments.names() if self.understands is None or name in self.understands]
        if changing:
            raise UserError(f"{type(self).__name__} gives no likelihoods with the adjustment '{changing[0]}'")
        return self

    @abc.abstractmethod
    def draw(self, parameters: Tensor, uniforms: Tensor, adjustments: Adjustments) -> Tensor:
        """Draws n pixels from their adjusted distributions: integers, shape (n, c).

        `parameters` has shape (n, parameter_count), and `uniforms` has random values in (0, 1) of shape
        (n, uniform_count).
        """


class RestrictableHead(Head):
    """A head whose channels can each be restricted to an interval of values."""

    restricted_uniform_count: int
    """Number of uniform random values that drawing one restricted pixel takes."""

    @abc.abstractmethod
    def channel_log_mass(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        """Computes the log-probability that each channel lies in its interval, in nats, shape (b, c, h, w).

        The distribution is the unrestricted one, given the earlier channels of `image`. `interval` has the shape of
        `image` and is clipped to [0, levels). An empty interval (`low` above `high`) is replaced by the single value
        `low`, clamped to [0, levels).
        """

    @abc.abstractmethod
    def restricted_log_prob(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        """Computes the log-likelihood of each channel restricted to its interval, in nats, shape (b, c, h, w).

        It equals `channel_log_prob` - `channel_log_mass`, but stays accurate if both probabilities are tiny. It is -∞
        for values outside of their interval.
        """

    @abc.abstractmethod
    def draw_restricted(
        self, parameters: Tensor, uniforms: Tensor, adjustments: Adjustments, pixels: DrawnPixels
    ) -> Tensor:
        """Draws n pixels like `draw`, but each channel from its distribution restricted to an interval.

        `uniforms` has shape (n, restricted_uniform_count). For one channel after another, an implementation gets the
        interval from `pixels.interval`, draws the values and passes them to `pixels.take`.
        """
