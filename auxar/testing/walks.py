"""Checks of walks, which give the intervals of supports pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from auxar.model import ImageSpec, Interval, Known, View, Walk
from auxar.model.sum_support import SumWalk
from auxar.testing.intervals import Found, intervals
from auxar.testing.laws import broken, calling, check_equal, check_tensor

Choose = Callable[[Tensor, int, Interval], Tensor]
"""Chooses the values at places (n,) of a channel from their intervals (n, b)."""


def walk_of(view: View, given: Tensor, known: Known | None = None) -> Walk:
    """A new walk of the view's support. Checks its `reach`."""
    assert view.support is not None
    with calling("Support.walk", given):
        walk = view.support.walk(given, known)
        if not isinstance(walk, Walk) or not isinstance(walk.reach, int) or walk.reach < 0:
            broken("support", "Support.walk must return an auxar.Walk whose reach is an integer ≥ 0", walk=walk)
    return walk


def check_along(view: View, image: Tensor, given: Tensor, known: Known | None = None, *, follows: bool = True) -> None:
    """Checks that a walk along an image gives the same intervals and centers as the support.

    If pixels of the image are known, the intervals may be narrower, but must contain the values of the image. If not
    `follows`, the image need not have the given view, and the walk gives centers alone, as for a free decoder.
    """
    assert view.support is not None
    flat, walk, centers = _by_place(image), walk_of(view, given, known), view.support.centers(image, given)

    def choose(places: Tensor, channel: int, _: Interval) -> Tensor:
        if channel == 0:
            _check_centers(walk, places, centers, given, known)
        return flat[:, channel, places].T

    _, walked = _walked(view, walk, given, choose, asks=follows)
    if not follows:
        return
    expected, found = intervals(view, image, given), Found(view, image, given, walked.low, walked.high)
    message = "in a walk along an image, the interval "
    found.check((found.low < expected.low) | (found.high > expected.high), f"{message}extends beyond Support.intervals")
    narrow = (found.low > expected.low) | (found.high < expected.high)
    wrong, what = (narrow, "is narrower than") if known is None else (found.outside, "leaves out the value, unlike")
    found.check(wrong, f"{message}{what} Support.intervals")


def _check_centers(walk: Walk, places: Tensor, centers: Tensor | None, given: Tensor, known: Known | None) -> None:
    """Checks the centers of a walk at places, which must be the same if they are asked for again."""
    with calling("Walk.centers", places):
        both = walk.centers(places), walk.centers(places)
    for found in both:
        if centers is None or found is None:
            if found is not centers:
                broken("centers", "Walk.centers must return None if and only if Support.centers does", centers=centers)
            continue
        check_tensor("Walk.centers", found, (len(places), *centers.shape[:2]), torch.int64, law="centers")
        inside = places < centers[0, 0].numel()
        expected = centers.flatten(2).permute(2, 0, 1)[places[inside]]
        message = f"the centers of a walk{' with known pixels' * (known is not None)} differ from Support.centers"
        check_equal("centers", message, found[inside], expected, view=given)


def check_drawn(view: View, given: Tensor, noise: torch.Generator, known: Known | None = None) -> Tensor:
    """Checks that a walk along possible values (lowest, highest or random) gives an image with the given view.

    If pixels are known, which come from an image with the view, this is only checked for a `SumWalk`: other walks need
    not look ahead. Returns the image.
    """
    walk, levels = walk_of(view, given, known), view.image.levels
    kind = torch.randint(4, (len(given),), generator=noise)
    ends = None if known is None else [_by_place(end) for end in (known.lowest(), known.highest(levels))]

    def choose(places: Tensor, channel: int, found: Interval) -> Tensor:
        if ends is not None:
            return _any(found, kind, levels, noise).clamp(*(end[:, channel, places].T for end in ends))
        if (found.low > found.high).any():
            broken("support", "in a walk along possible values, an interval is empty", view=given, image=view.image)
        return _any(found, kind, levels, noise)

    image, _ = _walked(view, walk, given, choose)
    if known is None or isinstance(walk, SumWalk):
        message = "a walk along possible values must give an image with the given view"
        check_equal("support", message, view(image), given, image=image, view=given, known=known is not None)
    return image


def _walked(view: View, walk: Walk, given: Tensor, choose: Choose, *, asks: bool = True) -> tuple[Tensor, Interval]:
    """Walks through all pixels with the chosen values. Returns the resulting image and the intervals, int64.

    The walk is asked for intervals if `asks`; otherwise they contain all values.
    """
    spec, outside = view.image, view.image.height * view.image.width
    image, low, high = (torch.zeros(spec.channels, outside + 1, len(given), dtype=torch.int64) for _ in range(3))
    with calling("the walk", given):
        for places in _steps(spec, walk.reach):
            for channel in range(spec.channels):
                everything = torch.tensor([0, spec.levels - 1]).expand(len(places), len(given), 2).unbind(2)
                found = _interval(walk, places, channel, spec, len(given)) if asks else Interval(*everything)
                values = choose(places, channel, found)
                with calling("Walk.take", values):
                    walk.take(places, channel, values)
                image[channel, places], low[channel, places], high[channel, places] = values, found.low, found.high
    image, low, high = (values[:, :-1].permute(2, 0, 1).unflatten(2, spec.shape[1:]) for values in (image, low, high))
    return image, Interval(low, high)


def _interval(walk: Walk, places: Tensor, channel: int, spec: ImageSpec, count: int) -> Interval:
    """The walk's interval. Checks its dtype and shape, and that it allows every value outside of the image."""
    with calling("Walk.interval", places):
        found = walk.interval(places, channel)
        for end in (found.low, found.high):
            check_tensor("Walk.interval", end, (len(places), count), torch.int64, law="support")
    free = (found.low <= 0) & (found.high >= spec.levels - 1)
    if not free[places == spec.height * spec.width].all():
        broken("support", "Walk.interval must allow every value at a place outside the image", places=places)
    return found


def _steps(spec: ImageSpec, reach: int) -> Iterator[Tensor]:
    """Yields, step by step, the places that a sampler draws together if it draws all rows in parallel.

    Each row lags as many columns behind the row above as `reach` requires. For rows that have not begun or are
    finished, and for one extra row at the end, the place lies outside the image.
    """
    lag = min(reach, spec.width) + 1
    rows = torch.arange(spec.height + 1)
    for time in range(spec.width + (spec.height - 1) * lag):
        columns = time - rows * lag
        inside = (columns >= 0) & (columns < spec.width) & (rows < spec.height)
        yield torch.where(inside, rows * spec.width + columns, spec.height * spec.width)


def _by_place(image: Tensor) -> Tensor:
    """Flattens (b, c, h, w) to (b, c, places + 1). The last place, outside of the image, has the value 0."""
    return torch.cat([image.flatten(2), torch.zeros(*image.shape[:2], 1, dtype=torch.int64)], dim=2)


def _any(found: Interval, kind: Tensor, levels: int, noise: torch.Generator) -> Tensor:
    """Values in the intervals, chosen by the kind of each image, (b,).

    Kind 0 chooses the lowest value, 1 the highest, 2 a random one, and 3 one of these at random for each value.
    """
    kind = torch.where(kind == 3, torch.randint(3, found.low.shape, generator=noise), kind.expand(found.low.shape))
    share = torch.rand(found.low.shape, generator=noise, dtype=torch.float64)
    # An interval may be empty because of known pixels. A valid value is chosen even then.
    low = found.low.clamp(0, levels - 1)
    high = torch.maximum(found.high.clamp(max=levels - 1), low)
    inside = low + (share * (high - low + 1)).to(torch.int64)
    return torch.where(kind == 0, low, torch.where(kind == 1, high, inside))
