"""The interface of heads whose probabilities are integer frequencies."""

import abc
from collections.abc import Iterator, Sequence

import torch
from einops import rearrange
from torch import Tensor

from auxar.model.head import RestrictableHead
from auxar.model.image import Interval
from auxar.model.rule import EXACT, Adjustments
from auxar.model.support import DrawnPixels
from auxar.numerics.range_coder import TOTAL, encode

PARAMETER_BITS = 20
"""Bits after the binary point of the parameters of an integer head."""


class Frequencies(abc.ABC):
    """Integer frequencies of the values of n pixels, for one channel after another.

    The frequencies of the values in an interval add up to `TOTAL`. They are functions of integers alone, so they are
    the same on every machine.
    """

    @abc.abstractmethod
    def below(self, value: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The cumulative frequency: the sum over low … value − 1, in the distribution restricted to low … high.

        It belongs to the current channel, given the values that were taken: int64, (n, …). It is 0 for `low`, `TOTAL`
        for high + 1, and does not decrease in between. `low` and `high` have shape (n,) with 0 ≤ low ≤ high < levels,
        and `value` has shape (n, …) with low ≤ value ≤ high + 1.
        """

    @abc.abstractmethod
    def take(self, value: Tensor) -> None:
        """Takes the values of the current channel, int64 (n,), and goes on to the next channel."""


class IntegerHead(RestrictableHead):
    """A head for integer parameters, whose probabilities are integer frequencies divided by `TOTAL`.

    Without adjustments, every value in the interval has a frequency of at least one.
    """

    channels: int
    levels: int

    @abc.abstractmethod
    def frequencies(self, parameters: Tensor, adjustments: Adjustments) -> Frequencies:
        """The frequencies of n pixels with integer parameters (n, parameter_count), which may have any dtype."""

    def log_prob(self, parameters: Tensor, image: Tensor) -> Tensor:
        return self.channel_log_prob(parameters, image).sum(1)

    def channel_log_prob(self, parameters: Tensor, image: Tensor) -> Tensor:
        return nats(self.coding_ranges(parameters, image, None)[1])

    def channel_log_mass(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        found = []
        for pixels, _, low, high in self._channels(parameters, image, interval):
            first, last = torch.zeros_like(low), torch.full_like(low, self.levels - 1)
            found.append(pixels.below(high + 1, first, last) - pixels.below(low, first, last))
        return nats(_as_image(found, image))

    def restricted_log_prob(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        return nats(self.coding_ranges(parameters, image, interval)[1])

    def draw(self, parameters: Tensor, uniforms: Tensor, adjustments: Adjustments) -> Tensor:
        return self.draw_restricted(parameters, uniforms, adjustments, None)

    def draw_restricted(
        self, parameters: Tensor, uniforms: Tensor, adjustments: Adjustments, pixels: DrawnPixels | None
    ) -> Tensor:
        frequencies = self.frequencies(parameters, adjustments)
        first = torch.zeros(len(parameters), dtype=torch.int64, device=parameters.device)
        drawn = []
        for channel in range(self.channels):
            interval = Interval(first, first + (self.levels - 1)) if pixels is None else pixels.interval(channel)
            target = torch.floor(uniforms[:, channel] * TOTAL).to(torch.int64)
            drawn.append(find_value(frequencies, target, interval.low, interval.high))
            frequencies.take(drawn[-1])
            if pixels is not None:
                pixels.take(channel, drawn[-1])
        return torch.stack(drawn, dim=1)

    def coding_ranges(
        self, parameters: Tensor, image: Tensor, interval: Interval | None, centers: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The ranges of an entropy coder: the cumulative frequency below each value, and its frequency.

        `parameters` has shape (b, parameter_count, h, w), and `image` has integers (b, c, h, w). The distribution of a
        sub-pixel is restricted to its interval; None stands for all values. Both results are int64, (b, c, h, w). The
        frequency of a value outside of its interval is 0, and that of an interval's only value is `TOTAL`. With
        centers, which `around` describes, the parameters are relative to them.
        """
        parameters = parameters if centers is None else self.around(parameters, centers)
        starts, frequencies = [], []
        for pixels, value, low, high in self._channels(parameters, image, interval):
            inside = (value >= low) & (value <= high)
            own = torch.where(inside, value, low)
            start, end = pixels.below(torch.stack([own, own + 1], dim=1), low, high).unbind(1)
            starts.append(start)
            frequencies.append(torch.where(inside, end - start, 0))
        return _as_image(starts, image), _as_image(frequencies, image)

    def stream(self, ranges: Tensor) -> bytes:
        """The bytes that `auxar.numerics.range_coder.encode` makes of starts and frequencies: int64, (2, n)."""
        return encode(zip(*ranges.tolist(), strict=True))

    def ends(self, image: Tensor, interval: Interval | None) -> tuple[Tensor, Tensor, Tensor]:
        """The values of an image, and the lowest and the highest value of their intervals: int64, (b, c, h, w) each."""
        values = image.to(torch.int64)
        low = torch.zeros_like(values) if interval is None else interval.low.to(torch.int64).clamp(0, self.levels - 1)
        high = low + (self.levels - 1) if interval is None else interval.high.to(torch.int64)
        return values, low, high.clamp(max=self.levels - 1).clamp(min=low)

    def _channels(
        self, parameters: Tensor, image: Tensor, interval: Interval | None
    ) -> Iterator[tuple[Frequencies, Tensor, Tensor, Tensor]]:
        """Yields, for each channel, frequencies, values, and the ends of their intervals: int64, (b · h · w,) each."""
        values, *ends = self.ends(image, interval)
        pixels = self.frequencies(rearrange(parameters, "b p h w -> (b h w) p"), EXACT)
        for channel in range(self.channels):
            value, first, last = (each[:, channel].flatten() for each in (values, *ends))
            yield pixels, value, first, last
            pixels.take(value)


PARTS = 17
"""The number of parts into which an interval is divided to find a value."""


def find_value(pixels: Frequencies, target: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Finds the value of each pixel whose range of cumulative frequencies contains `target`.

    All arguments and the result are int64, (n,), with values in low … high and targets in 0 … `TOTAL` - 1. The interval
    is divided into `PARTS` parts, again and again.
    """
    target = target[:, None]
    parts = torch.arange(1, PARTS, device=low.device)
    # The value lies in first … last.
    first, last = low, high
    while bool((first < last).any()):
        # The first values of all parts but the first one; they do not decrease.
        starts = first[:, None] + ((last - first + 1)[:, None] * parts + PARTS - 1) // PARTS
        passed = (pixels.below(torch.minimum(starts, last[:, None] + 1), low, high) <= target) & (
            starts <= last[:, None]
        )
        count = passed.sum(1, keepdim=True)
        ends = torch.cat([starts, last[:, None] + 1], dim=1)
        last = torch.minimum(ends.gather(1, count).squeeze(1) - 1, last)
        first = torch.cat([first[:, None], starts], dim=1).gather(1, count).squeeze(1)
    return first


def _as_image(channels: Sequence[Tensor], image: Tensor) -> Tensor:
    """The values of each channel, (b · h · w,), in the shape of an image (b, c, h, w)."""
    return rearrange(torch.stack(list(channels), dim=1), "(b h w) c -> b c h w", h=image.shape[2], w=image.shape[3])


def nats(frequencies: Tensor) -> Tensor:
    """Logarithms of frequencies / `TOTAL` in nats: float64."""
    return torch.log(frequencies.double() / TOTAL)
