"""Pixels that a head draws, and the random arguments with which it is called."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.model import Adjustments, DrawnPixels, Head, ImageSpec, Interval, RestrictableHead, Walk
from auxar.model.rule import EXACT
from auxar.testing.laws import broken, calling, check_range, check_tensor


def drawn_pixels(
    head: Head,
    spec: ImageSpec,
    parameters: Tensor,
    seed: int,
    adjustments: Adjustments = EXACT,
    possible: Possible | None = None,
) -> Tensor:
    """Draws a pixel for each row of the parameters with random noise, restricted if `possible` is given."""
    uniforms = uniforms_for(head, len(parameters), seed, possible)
    return draw_with(head, spec, parameters, uniforms, adjustments, possible)


def uniforms_for(head: Head, count: int, seed: int, possible: Possible | None) -> Tensor:
    """Random noise for drawing `count` pixels, restricted if `possible` is given."""
    if possible is None or not isinstance(head, RestrictableHead):
        return random_uniforms((count, head.uniform_count), seed)
    return random_uniforms((count, head.restricted_uniform_count), seed)


def draw_with(
    head: Head,
    spec: ImageSpec,
    parameters: Tensor,
    uniforms: Tensor,
    adjustments: Adjustments,
    possible: Possible | None,
) -> Tensor:
    """Draws a pixel for each row of the parameters with the given noise, restricted if `possible` is given.

    Checks the laws `draw`, `range`, `inputs`, `inside` and `walk`.
    """
    shape = len(parameters), spec.channels
    name = "draw" if possible is None else "draw_restricted"
    with calling(name, parameters, uniforms, image=spec, adjustments=adjustments), torch.no_grad():
        if possible is None:
            drawn = head.draw(parameters, uniforms, adjustments)
        else:
            assert isinstance(head, RestrictableHead)
            walk = CheckedWalk(possible, torch.zeros(shape, dtype=torch.int64))
            pixels = DrawnPixels(walk, spec.levels, torch.arange(shape[0]))
            drawn = head.draw_restricted(parameters, uniforms, adjustments, pixels)
    check_tensor(name, drawn, shape, torch.int64, law="draw")
    check_range(name, drawn, spec.levels, adjustments=adjustments)
    if possible is not None:
        if walk.taken != spec.channels or not torch.equal(walk.pixels, drawn):
            broken("walk", "the values passed to `take` must be those that draw_restricted returns, for every channel")
        bounds = possible.of(drawn)
        outside = ((drawn < bounds.low) | (drawn > bounds.high)).any(1)
        if outside.any():
            example = {"drawn": drawn[outside][0], "low": bounds.low[outside][0], "high": bounds.high[outside][0]}
            broken("inside", "a value was drawn outside of its interval", adjustments=adjustments, **example)
    return drawn


@attrs.frozen(eq=False)
class Possible:
    """The intervals of pixels, which depend on the earlier channels, as those of views do.

    n is the number of pixels, or 1 if all pixels have the same intervals given their earlier channels.
    """

    even: Interval
    """Intervals of channels if the earlier channels of the pixel have an even sum, (n, c)."""
    odd: Interval
    """Intervals of channels if the earlier channels of the pixel have an odd sum, (n, c)."""

    @classmethod
    def random(cls, count: int, spec: ImageSpec, seed: int) -> Possible:
        """Random intervals for `count` pixels."""
        shape = (count, spec.channels)
        return cls(random_intervals(shape, spec.levels, seed), random_intervals(shape, spec.levels, seed + 1))

    @classmethod
    def everything(cls, spec: ImageSpec) -> Possible:
        """Intervals that contain all values."""
        ends = torch.zeros((1, spec.channels), dtype=torch.int64), torch.full((1, spec.channels), spec.levels - 1)
        return cls(Interval(*ends), Interval(*ends))

    def of(self, pixels: Tensor) -> Interval:
        """The intervals of all channels of pixels (n, c), given their earlier channels: (n, c)."""
        odd = (pixels.cumsum(1) - pixels) % 2 == 1
        return Interval(torch.where(odd, self.odd.low, self.even.low), torch.where(odd, self.odd.high, self.even.high))


@attrs.define(eq=False)
class CheckedWalk(Walk):
    """A walk that checks the order of calls, and records the values that it is given."""

    possible: Possible
    pixels: Tensor
    """Values that were passed to `take`, int64 (n, c); 0 for later channels."""
    taken: int = 0
    """Number of channels that were passed to `take`."""
    asked: int = 0
    """Number of channels whose intervals were requested."""
    reach = 0

    def interval(self, places: Tensor, channel: int) -> Interval:
        if channel != self.asked or channel != self.taken:
            broken("walk", f"the interval of channel {channel} was requested after `take` of {self.taken} channels")
        self.asked += 1
        bounds = self.possible.of(self.pixels)
        return Interval(bounds.low[:, channel, None], bounds.high[:, channel, None])

    def take(self, places: Tensor, channel: int, values: Tensor) -> None:
        if channel != self.taken or channel + 1 != self.asked:
            broken("walk", f"`take` was called for channel {channel} after the intervals of {self.asked} channels")
        if values.dtype != torch.int64:
            broken("walk", f"the values passed to `take` must be torch.int64, got {values.dtype}")
        self.taken += 1
        self.pixels[:, channel] = values[:, 0]


def normal_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_uniforms(shape: tuple[int, int], seed: int) -> Tensor:
    """Noise in (0, 1), float64. The first and the last row are the ends of the range that requests can contain."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = values.clamp(2.0**-53, 1 - 2.0**-53)
    values[0], values[-1] = 2.0**-53, 1 - 2.0**-53
    return values


def random_intervals(shape: tuple[int, ...], levels: int, seed: int) -> Interval:
    """Random intervals in [0, levels): single values, all values, ranges that begin or end at an end, and others."""
    noise = torch.Generator().manual_seed(seed)
    low, high = torch.randint(levels, (2, *shape), generator=noise).sort(0).values
    kind = torch.randint(5, shape, generator=noise)
    return Interval(
        torch.where((kind == 1) | (kind == 2), 0, low),
        torch.where((kind == 1) | (kind == 3), levels - 1, torch.where(kind == 4, low, high)),
    )
