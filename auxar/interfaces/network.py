"""Causal networks, and the heads that say what a network's predictions mean."""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from auxar.interfaces.image import ImageSpec, Interval, scale
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

        `interval` has the image's shape; where it is empty or leaves [0, levels), so much of it as is inside counts.
        """

    @abc.abstractmethod
    def restricted_log_prob(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        """log P(a channel | the channels before it, and that it lies in its interval): nats, (b, c, h, w).

        That is `channel_log_prob` less `channel_log_mass`, but as precise where both are tiny; -∞ of values outside.
        """

    @abc.abstractmethod
    def draw_restricted(self, parameters: Tensor, uniforms: Tensor, rule: DrawRule, pixels: DrawnPixels) -> Tensor:
        """As `draw`, with (n, restricted_uniform_count) uniforms: every channel from its distribution in its interval.

        Asks `pixels` for the interval of one channel after the other, and tells what each has become.
        """


class CausalNetwork(nn.Module, abc.ABC):
    """p(X | features) = Π p(x_i | x_1 … x_{i-1}, features) in raster order (paper, equations 1 and 3).

    What samplers work on. `features_channels` is 0 for a network without conditioning.
    """

    image: ImageSpec
    features_channels: int
    head: Head
    marks_pixels: bool = False
    """Whether `encode` adds a channel of ones, by which a network tells pixels from the zeros of padding."""

    @abc.abstractmethod
    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Parameters of every pixel's distribution, shape (b, head.parameter_count, h, w).

        Those at row r, column c depend on `image` before that pixel in raster order only. `image` is what `encode`
        gives; `features` has shape (b, features_channels, h, w).
        """

    def encode(self, image: Tensor) -> Tensor:
        """Integers (b, c, h, w) to the network's floating-point input, each pixel by itself: here to [-1, 1].

        With `marks_pixels`, a channel of ones follows: (b, c + 1, h, w).
        """
        scaled = scale(image, self.image.levels, next(self.parameters()).dtype)
        if not self.marks_pixels:
            return scaled
        marked = torch.cat([scaled, torch.ones_like(scaled[:, :1])], dim=1)
        return marked.contiguous(memory_format=torch.channels_last)

    def initialize(self, image: Tensor, features: Tensor | None = None) -> None:
        """Data-dependent initialization on a batch of integers; nothing unless an implementation has it."""
