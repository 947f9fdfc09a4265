"""Pixels that a head draws, and the random arguments with which it is called."""

import attrs
import torch
from torch import Tensor

from auxar.model import Adjustments, DrawnPixels, Head, ImageSpec, Interval, RestrictableHead, Walk
from auxar.model.rule import EXACT
from auxar.testing.laws import broken, calling, check_range, check_tensor


@attrs.frozen(eq=False)
class Drawing:
    """A method of a head that draws pixels: `draw` or, if intervals of possible values are given, `draw_restricted`."""

    head: Head
    spec: ImageSpec
    possible: Interval | None = None
    """Intervals of n pixels, which depend on the earlier channels, as those of views do: (n, 2, c), by the parity of
    the sum of the earlier channels. n is 1 if all pixels have the same intervals."""

    @property
    def name(self) -> str:
        """The name of the method."""
        return "draw" if self.possible is None else "draw_restricted"

    def uniforms(self, count: int, seed: int) -> Tensor:
        """Random noise for drawing `count` pixels."""
        numbers: int = getattr(self.head, "uniform_count" if self.possible is None else "restricted_uniform_count")
        return random_uniforms((count, numbers), seed)

    def random(self, parameters: Tensor, seed: int, adjustments: Adjustments = EXACT) -> Tensor:
        """Draws a pixel for each row of the parameters with random noise."""
        return self(parameters, self.uniforms(len(parameters), seed), adjustments)

    def __call__(self, parameters: Tensor, uniforms: Tensor, adjustments: Adjustments) -> Tensor:
        """Draws a pixel for each row of the parameters with the given noise.

        Checks the laws `draw`, `range`, `inputs`, `inside` and `walk`.
        """
        shape, walk = (len(parameters), self.spec.channels), None
        with calling(self.name, parameters, uniforms), torch.no_grad():
            if self.possible is None:
                drawn = self.head.draw(parameters, uniforms, adjustments)
            else:
                assert isinstance(self.head, RestrictableHead)
                walk = CheckedWalk(self, torch.zeros(shape, dtype=torch.int64))
                pixels = DrawnPixels(walk, self.spec.levels, torch.arange(shape[0]))
                drawn = self.head.draw_restricted(parameters, uniforms, adjustments, pixels)
        check_tensor(self.name, drawn, shape, torch.int64, law="draw")
        check_range(self.name, drawn, self.spec.levels, adjustments=adjustments)
        if walk is not None:
            walk.check_finished(drawn)
        bounds = self.intervals(drawn)
        outside = bounds.outside(drawn).any(1)
        if outside.any():
            example = {"drawn": drawn[outside][0], "low": bounds.low[outside][0], "high": bounds.high[outside][0]}
            broken("inside", "a value was drawn outside of its interval", adjustments=adjustments, **example)
        return drawn

    def intervals(self, pixels: Tensor) -> Interval:
        """The intervals of all channels of pixels (n, c), given their earlier channels: (n, c)."""
        if self.possible is None:
            return Interval(torch.zeros_like(pixels), torch.full_like(pixels, self.spec.levels - 1))
        odd = (pixels.cumsum(1) - pixels) % 2 == 1
        return Interval(*(torch.where(odd, end[:, 1], end[:, 0]) for end in (self.possible.low, self.possible.high)))


def ways_to_draw(head: Head, spec: ImageSpec, count: int, seed: int) -> list[Drawing]:
    """The methods of a head that draw: freely and, if it can be restricted, in random intervals of `count` pixels."""
    found = [Drawing(head, spec)]
    if isinstance(head, RestrictableHead):
        found.append(Drawing(head, spec, random_intervals((count, 2, spec.channels), spec.levels, seed)))
    return found


@attrs.define(eq=False)
class CheckedWalk(Walk):
    """A walk that checks the order of calls, and records the values that it is given."""

    drawing: Drawing
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
        bounds = self.drawing.intervals(self.pixels)
        return Interval(bounds.low[:, channel, None], bounds.high[:, channel, None])

    def take(self, places: Tensor, channel: int, values: Tensor) -> None:
        if channel != self.taken or channel + 1 != self.asked:
            broken("walk", f"`take` was called for channel {channel} after the intervals of {self.asked} channels")
        if values.dtype != torch.int64:
            broken("walk", f"the values passed to `take` must be torch.int64, got {values.dtype}")
        self.taken += 1
        self.pixels[:, channel] = values[:, 0]

    def check_finished(self, drawn: Tensor) -> None:
        if self.taken != drawn.shape[1] or not torch.equal(self.pixels, drawn):
            broken("walk", "the values passed to `take` must be those that draw_restricted returns, for every channel")


def normal_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_uniforms(shape: tuple[int, int], seed: int) -> Tensor:
    """Noise in (0, 1), float64. The first and the last row are the ends of the range that requests can contain."""
    least = 2.0**-53
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values[0], values[-1] = 0, 1
    return values.clamp(least, 1 - least)


def random_intervals(shape: tuple[int, ...], levels: int, seed: int) -> Interval:
    """Random intervals in [0, levels): single values, all values, ranges that begin or end at an end, and others."""
    noise = torch.Generator().manual_seed(seed)
    low, high = torch.randint(levels, (2, *shape), generator=noise).sort(0).values
    kind = torch.randint(5, shape, generator=noise)
    return Interval(
        torch.where((kind == 1) | (kind == 2), 0, low),
        torch.where((kind == 1) | (kind == 3), levels - 1, torch.where(kind == 4, low, high)),
    )
