"""Likelihood heads: the distribution of a pixel given the parameters that a network predicts for it."""

from __future__ import annotations

import abc

from torch import Tensor

from auxar.interfaces.image import Interval
from auxar.interfaces.request import DrawRule
from auxar.interfaces.support import DrawnPixels


class Head(abc.ABC):
    """The distribution of one pixel given the parameters a causal network predicts for it."""

    parameter_count: int
    """Number of predicted values per pixel."""
    uniform_count: int
    """Number of uniform random values that drawing one pixel takes."""

    @abc.abstractmethod
    def log_prob(self, parameters: Tensor, image: Tensor) -> Tensor:
        """(b, parameter_count, h, w) and integers (b, c, h, w) to nats per pixel, shape (b, h, w)."""

    def channel_log_prob(self, parameters: Tensor, image: Tensor) -> Tensor | None:
        """Nats of each channel given those before it, shape (b, c, h, w), which add up to those of `log_prob`.

        None, as here, where the distribution has no such factors in closed form.
        """
        return None

    @abc.abstractmethod
    def draw(self, parameters: Tensor, uniforms: Tensor, rule: DrawRule) -> Tensor:
        """(n, parameter_count) and (n, uniform_count) in (0, 1) to one drawn pixel each: integers, shape (n, c)."""


class RestrictableHead(Head):
    """A head whose channels can each be restricted to an interval of values."""

    restricted_uniform_count: int
    """Number of uniform random values that drawing one restricted pixel takes."""

    @abc.abstractmethod
    def channel_log_mass(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        """log P(a channel lies in its interval | the channels before it) of the free head: nats, (b, c, h, w).

        `interval` has the image's shape. Its part inside [0, levels) counts; an empty one counts as the single value
        that lies next to it.
        """

    @abc.abstractmethod
    def restricted_log_prob(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        """log P(a channel | the channels before it, and that it lies in its interval): nats, (b, c, h, w).

        It is `channel_log_prob` less `channel_log_mass`, precise even where both are tiny, and -∞ for values outside.
        """

    @abc.abstractmethod
    def draw_restricted(self, parameters: Tensor, uniforms: Tensor, rule: DrawRule, pixels: DrawnPixels) -> Tensor:
        """As `draw`, with (n, restricted_uniform_count) uniforms: every channel from its distribution in its interval.

        Asks `pixels` for the interval of one channel after the other, and tells what each has become.
        """
