"""The law `support` of views: the intervals hold what keeps ψ(X) = X̂ possible, no more and no less."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.interfaces import INTEGER_DTYPES, ImageSpec, Interval, Known, Support, View, Walk
from auxar.support import SumWalk
from auxar.testing.examples import SEEDS, all_images, extreme_images, images, random_images
from auxar.testing.laws import ContractError, broken, described, devices, fitting, runs, search

Place = TypeVar("Place")

EXAMPLES = 20
ENOUGH = 64
"""Sub-pixels of an image that is walked through. Larger ones are tried only of views that take no smaller ones."""
MOST_PLACES = 200
"""Sub-pixels of an image that are changed one after the other."""
MOST_IMAGES = 70_000
"""Maximum images of one space of which all are counted."""
ALL_IMAGES = 30_000
"""Total image budget of all spaces, waived if a view accepts only a larger one."""
SPACES = [
    ImageSpec(channels, height=height, width=width, levels=levels)
    for (height, width), channels, levels in [
        ((1, 1), 1, 256),
        ((1, 1), 3, 5),
        ((1, 1), 3, 8),
        ((1, 1), 3, 16),
        ((1, 1), 3, 40),
        ((1, 2), 1, 64),
        ((1, 2), 1, 256),
        ((1, 2), 3, 4),
        ((2, 1), 3, 3),
        ((2, 2), 1, 3),
        ((2, 2), 1, 4),
        ((2, 2), 1, 8),
        ((2, 2), 1, 16),
        ((2, 2), 3, 2),
        ((2, 4), 1, 3),
        ((4, 2), 1, 3),
        ((1, 6), 1, 4),
        ((3, 3), 1, 2),
        ((3, 3), 1, 3),
        ((3, 5), 1, 2),
        ((4, 4), 1, 2),
    ]
]
"""Spaces so small that all their images, and the views of these, can be counted."""


def _channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def _columns_first(values: Tensor) -> Tensor:
    return values.mT.contiguous().mT


LAYOUTS = (_channels_last, _columns_first)
"""Other layouts of memory, on which intervals must not depend."""


def check_supports(build: Callable[[ImageSpec], View], views: dict[ImageSpec, View], *, chosen: bool) -> None:
    """Looks for an image at which a support of the views, if they have any, is wrong. Raises `ContractError`.

    `chosen`: The specs were asked for, and no others are tried. Warns if no image was so small that an interval could
    be held against all images there are.
    """
    supported = {spec: view for spec, view in views.items() if view.support is not None}
    if not supported:
        return
    for spec, view in supported.items():
        _support(view, spec)
    spaces = _spaces(build, list(supported) if chosen else SPACES)
    for view in spaces:
        _check_space(view)
    if not spaces:
        warnings.warn("intervals of a support were not held against all images: none is small enough", stacklevel=3)
    specs = list(supported)
    if not chosen:
        specs = [spec for spec in specs if spec.dims <= ENOUGH] or specs[:1]
    search(
        lambda example: _check_example(*example),
        EXAMPLES,
        example=st.sampled_from(specs).flatmap(lambda spec: _examples(supported[spec], spec)),
    )
    # What the search has to be lucky to find: sums that no byte holds, and values at both ends.
    most = max(spec.levels for spec in supported)
    for spec, view in supported.items():
        if chosen or spec.levels == most:
            _check_intervals(view, extreme_images(spec))


def _support(view: View, spec: ImageSpec) -> Support:
    if not isinstance(view.support, Support):
        broken("support", f"expected an auxar.Support, got {described(view.support)}", built_for=spec)
    if getattr(view.support, "image", None) != spec:
        broken("support", "the support's `image` is not that of its view", built_for=spec)
    return view.support


def _spaces(build: Callable[[ImageSpec], View], candidates: Sequence[ImageSpec]) -> list[View]:
    """Views of images that can all be counted, the fewest first."""
    # The logarithm first: powers of large images take their time.
    small = [spec for spec in candidates if spec.dims <= 17 and spec.levels**spec.dims <= MOST_IMAGES]
    try:
        fitted = fitting(build, sorted(small, key=lambda spec: spec.levels**spec.dims), False, "images")
    except ContractError:
        return []
    found: list[View] = []
    total = 0
    for spec in fitted:
        view = build(spec)
        total += spec.levels**spec.dims
        if view.support is None or (found and total > ALL_IMAGES):
            continue
        _support(view, spec)
        found.append(view)
    return found


def _examples(view: View, spec: ImageSpec) -> st.SearchStrategy[tuple[View, Tensor, torch.dtype, int]]:
    return st.tuples(st.just(view), images(spec), st.sampled_from(_dtypes(view.view.levels)), SEEDS)


def _dtypes(levels: int) -> list[torch.dtype]:
    """Those that hold so many values, the widest first."""
    return [dtype for dtype in INTEGER_DTYPES[::-1] if levels - 1 <= torch.iinfo(dtype).max]


def _check_example(view: View, image: Tensor, dtype: torch.dtype, seed: int) -> None:
    noise = torch.Generator().manual_seed(seed)
    given = view(image).to(dtype)
    _check_intervals(view, image)
    noisy = random_images(len(image), view.image, seed)
    _check_order(view, image, noisy, given)
    _check_reach(view, image, noisy, given)
    _check_walk(view, image, given)
    other = _check_drawn(view, given, noise)
    _check_intervals(view, other)
    for first, second in ((image, other), (other, image)):
        _check_order(view, first, second, given)
        _check_reach(view, first, second, given)
    _check_known(view, image, given, noise)


# Of whole images ------------------------------------------------------------------------------------------------------


def _intervals(view: View, image: Tensor, given: Tensor) -> Interval:
    """The support's intervals, which have the right dtype and shape and leave what they were made of as it was."""
    assert view.support is not None
    before = image.clone(), given.clone()
    with runs("Support.intervals", image=image, view=given):
        found = view.support.intervals(image, given)
        for values in (found.low, found.high):
            if not isinstance(values, Tensor) or values.dtype != torch.int64 or values.shape != image.shape:
                expected = f"torch.int64 of shape {tuple(image.shape)}"
                broken("support", f"expected intervals of {expected}, got {described(values)}", image=image)
    if not torch.equal(image, before[0]) or not torch.equal(given, before[1]):
        broken("support", "`intervals` changes the image or the view that it is given", image=before[0], view=before[1])
    return found


def _check_intervals(view: View, image: Tensor) -> None:
    """Checks intervals of images with their own views: what they hold, and what they depend on."""
    given = view(image)
    found = _intervals(view, image, given)
    wrong = (image < found.low) | (image > found.high) | (found.low < 0) | (found.high >= view.image.levels)
    if wrong.any():
        row, place = _first(wrong)
        interval = _at(found, row, place)
        inside = interval[0] <= image[row][place] <= interval[1]
        broken(
            "support",
            f"the interval {'leaves [0, levels)' if inside else 'does not hold the own value'} of an image given its "
            f"own view, at (channel, row, column) {place}",
            **_example(view, image, given, row),
            interval=interval,
        )
    _check_outside(view, image, given, found)
    for index in range(len(image)):
        alone = _intervals(view, image[index : index + 1], given[index : index + 1])
        _equal(alone, _row(found, index), "an image alone has other intervals", image=image, index=index)
    _intervals(view, image[:0], given[:0])
    for dtype in _dtypes(view.image.levels):
        same = _intervals(view, image.to(dtype), given)
        _equal(same, found, f"the intervals are others of an image in {dtype}", **_example(view, image, given))
    for dtype in _dtypes(view.view.levels):
        same = _intervals(view, image, given.to(dtype))
        _equal(same, found, f"the intervals are others for a view in {dtype}", **_example(view, image, given))
    for layout in LAYOUTS:
        same = _intervals(view, layout(image), layout(given))
        _equal(same, found, "the intervals depend on the layout of memory", **_example(view, image, given))
    for device in devices()[1:]:
        moved = _intervals(view, image.to(device), given.to(device))
        if moved.low.device.type != device.type or moved.high.device.type != device.type:
            broken("support", f"intervals for a view on {device} are on {moved.low.device}")
        back = Interval(moved.low.cpu(), moved.high.cpu())
        _equal(back, found, f"the intervals are others on {device}", **_example(view, image, given))


def _check_outside(view: View, image: Tensor, given: Tensor, found: Interval) -> None:
    """A value next to an interval is impossible: the image with it and all else as it was has another view."""
    spec = view.image
    for values, step in ((found.low, -1), (found.high, 1)):
        for channel, row, column in _some(_places(spec)):
            place = (..., channel, row, column)
            beside = values[place] + step
            possible = (beside >= 0) & (beside < spec.levels)
            changed = image.clone()
            changed[place] = torch.where(possible, beside, image[place])
            kept = (view(changed) == given).flatten(1).all(1) & possible
            if kept.any():
                index = int(kept.nonzero()[0])
                broken(
                    "support",
                    f"with {int(beside[index])} at (channel, row, column) {place[1:]} the image would keep its view, "
                    "and the interval does not hold it",
                    **_example(view, image, given, index),
                    interval=_at(found, index, place[1:]),
                )


def _check_order(view: View, image: Tensor, other: Tensor, given: Tensor) -> None:
    """Sub-pixels from one on are those of another image: the intervals up to that one stay."""
    found = _intervals(view, image, given)
    order = _order(view.image)
    ends = torch.tensor(_some(range(view.image.dims)))[:, None, None, None]
    earlier, upto = order < ends, order <= ends
    for row in range(len(image)):
        mixed = torch.where(earlier, image[row], other[row])
        same = _intervals(view, mixed, given[row].expand(len(mixed), -1, -1, -1))
        wrong = _differs(same, _row(found, row)) & upto
        if wrong.any():
            number, place = _first(wrong)
            changed = _places(view.image)[int(ends[number])]
            broken(
                "support",
                f"the interval at (channel, row, column) {place} changes with sub-pixels from {changed} on",
                image=image[row],
                with_another=mixed[number],
                view=given[row],
            )


def _check_reach(view: View, image: Tensor, other: Tensor, given: Tensor) -> None:
    """Rows above are those of another image further right than the walk reaches: a pixel's intervals stay."""
    reach = _walk(view, given).reach
    spec = view.image
    found = _intervals(view, image, given)
    places = torch.tensor(_some(range(spec.height * spec.width)))
    rows, columns = (x[:, None, None] for x in (places // spec.width, places % spec.width))
    beyond = (torch.arange(spec.height)[:, None] < rows) & (torch.arange(spec.width) > columns + reach)
    for row in range(len(image)):
        mixed = torch.where(beyond[:, None], other[row], image[row])
        same = _intervals(view, mixed, given[row].expand(len(mixed), -1, -1, -1))
        wrong = (_differs(same, _row(found, row)) & _follows(mixed, same)).flatten(2)
        wrong = wrong[torch.arange(len(places)), :, places]
        if wrong.any():
            number, channel = (int(x) for x in wrong.nonzero()[0])
            broken(
                "support",
                f"the interval at (channel, row, column) {(channel, *divmod(int(places[number]), spec.width))} changes "
                f"with rows above it further right than the walk's reach of {reach}",
                image=image[row],
                with_another=mixed[number],
                view=given[row],
            )


# Of images that are drawn ---------------------------------------------------------------------------------------------


def _walk(view: View, given: Tensor, known: Known | None = None) -> Walk:
    assert view.support is not None
    with runs("Support.walk", view=given):
        walk = view.support.walk(given, known)
        if not isinstance(walk, Walk) or not isinstance(walk.reach, int) or walk.reach < 0:
            broken("support", "expected an auxar.support.Walk whose reach is an integer from 0 on", walk=walk)
    return walk


def _steps(spec: ImageSpec, reach: int) -> Iterator[Tensor]:
    """Places that are drawn together by who draws all rows at once, each as far behind the last as it has to be.

    Of rows that have not begun or are done, and once more at the end, a place outside of the image.
    """
    lag = min(reach, spec.width) + 1
    rows = torch.arange(spec.height + 1)
    for time in range(spec.width + (spec.height - 1) * lag):
        columns = time - rows * lag
        inside = (columns >= 0) & (columns < spec.width) & (rows < spec.height)
        yield torch.where(inside, rows * spec.width + columns, spec.height * spec.width)


def _walked(
    view: View, walk: Walk, given: Tensor, choose: Callable[[Tensor, int, Interval], Tensor]
) -> tuple[Tensor, Interval]:
    """The image of the values that `choose` gives for places, channel and their interval; and the intervals, int64."""
    spec, count = view.image, len(given)
    shape = (*spec.shape[:1], spec.height * spec.width + 1, count)
    image, low, high = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    outside = spec.height * spec.width
    before = given.clone()
    for places in _steps(spec, walk.reach):
        for channel in range(spec.channels):
            with runs("Walk.interval", view=given, places=places):
                found = walk.interval(places, channel)
                for bound in (found.low, found.high):
                    if bound.dtype != torch.int64 or tuple(bound.shape) != (len(places), count):
                        expected = f"torch.int64 of shape {(len(places), count)}"
                        broken("support", f"expected a walk's intervals of {expected}, got {described(bound)}")
            free = (found.low <= 0) & (found.high >= spec.levels - 1)
            if not free[places == outside].all():
                broken("support", "of a place outside of the image a walk leaves every value possible", view=given)
            values = choose(places, channel, found)
            with runs("Walk.take", view=given, places=places):
                walk.take(places, channel, values.clone())
            image[channel, places], low[channel, places], high[channel, places] = values, found.low, found.high
    if not torch.equal(given, before):
        broken("support", "a walk changes the view that it is given", view=before)
    image, low, high = (values[:, :-1].permute(2, 0, 1).unflatten(2, spec.shape[1:]) for values in (image, low, high))
    return image, Interval(low, high)


def _check_walk(view: View, image: Tensor, given: Tensor) -> None:
    """Along an image a walk's intervals are those of the image as a whole."""
    by_place = torch.cat([image.flatten(2), torch.zeros(*image.shape[:2], 1, dtype=torch.int64)], dim=2)
    _, found = _walked(
        view, _walk(view, given), given, lambda places, channel, interval: by_place[:, channel, places].T
    )
    expected = _intervals(view, image, given)
    _equal(found, expected, "a walk along the image has other intervals", **_example(view, image, given))


def _check_drawn(view: View, given: Tensor, noise: torch.Generator) -> Tensor:
    """A walk along the lowest, the highest or any possible values leads to an image of the view, which is returned."""
    kind = torch.randint(4, (len(given),), generator=noise)

    def choose(places: Tensor, channel: int, found: Interval) -> Tensor:
        empty = found.low > found.high
        if empty.any():
            place = int(places[empty.any(1)][0])
            broken(
                "support",
                f"a walk along possible values finds nothing possible at (channel, row, column) "
                f"{(channel, *divmod(place, view.image.width))}",
                view=given,
                image=view.image,
            )
        return _any(found, kind, view.image.levels, noise)

    image, _ = _walked(view, _walk(view, given), given, choose)
    _check_view(view, image, given, "a walk along possible values leads to an image of another view")
    return image


def _check_known(view: View, image: Tensor, given: Tensor, noise: torch.Generator) -> None:
    """With pixels known from an image of the view, a walk does not fail; if it looks ahead, it leads to that view."""
    share = torch.rand((), generator=noise)
    mask = torch.rand(len(image), *image.shape[2:], generator=noise) < share
    # What a value is that is not known, is of no account.
    known = Known(torch.where(mask[:, None], image, -1), mask)
    kind = torch.randint(4, (len(given),), generator=noise)
    walk = _walk(view, given, known)
    values, masks = (
        torch.cat([x, x.new_zeros(1, *x.shape[1:])]) for x in (image.flatten(2).permute(2, 0, 1), mask.flatten(1).T)
    )

    def choose(places: Tensor, channel: int, found: Interval) -> Tensor:
        drawn = _any(found, kind, view.image.levels, noise)
        return torch.where(masks[places], values[places][..., channel], drawn)

    drawn, _ = _walked(view, walk, given, choose)
    if isinstance(walk, SumWalk):
        _check_view(view, drawn, given, "with pixels known from an image of the view, a walk leads to another view")


def _any(found: Interval, kind: Tensor, levels: int, noise: torch.Generator) -> Tensor:
    """By the kind of each image (b,): always the lowest value, always the highest, any, or all of these in turn."""
    kind = torch.where(kind == 3, torch.randint(3, found.low.shape, generator=noise), kind.expand(found.low.shape))
    share = torch.rand(found.low.shape, generator=noise, dtype=torch.float64)
    # Where nothing is possible, as known pixels may have it, this is a value all the same.
    low = found.low.clamp(0, levels - 1)
    high = torch.maximum(found.high.clamp(max=levels - 1), low)
    inside = low + (share * (high - low + 1)).to(torch.int64)
    return torch.where(kind == 0, low, torch.where(kind == 1, high, inside))


def _check_view(view: View, image: Tensor, given: Tensor, message: str) -> None:
    found = view(image)
    if not torch.equal(found, given.to(torch.int64)):
        row = int((found != given).flatten(1).any(1).nonzero()[0])
        broken("support", message, built_for=view.image, view=given[row], image=image[row], its_view=found[row])


# Of all images --------------------------------------------------------------------------------------------------------


def _check_space(view: View) -> None:
    """Intervals are held against what can be completed, of all images there are and of their beginnings.

    Each image with its own view, and with another's, which its beginning may well be completed to. Beginnings are
    numbered together with their views: of those numbers that there are, each goes on with certain values.
    """
    image = all_images(view.image)
    own = view(image)
    noise = torch.Generator().manual_seed(0)
    other = torch.where(
        torch.rand(len(image), 1, 1, 1, generator=noise) < 0.5,
        own[torch.randperm(len(image), generator=noise)],
        random_images(len(image), view.view, 0),
    )
    distinct, number = torch.cat([own, other]).flatten(1).unique(dim=0, return_inverse=True)
    begun, tried = number.chunk(2)
    fits = begun == tried
    exists = torch.zeros(len(distinct), dtype=torch.bool).index_fill(0, begun, True)
    tried = torch.where(exists[tried], tried, -1)
    found = _intervals(view, image, own)
    free = _intervals(view, image, other)
    inside = ((image >= free.low) & (image <= free.high)).flatten(1).all(1)
    for channel, row, column in _places(view.image):
        place = (..., channel, row, column)
        value = image[place]
        goes_on, begun_on = (begun * view.image.levels + value).unique(return_inverse=True)
        before, group, count = (goes_on // view.image.levels).unique_consecutive(
            return_inverse=True, return_counts=True
        )
        last = count.cumsum(0) - 1
        low, high = goes_on[last - count + 1] % view.image.levels, goes_on[last] % view.image.levels
        of = group[begun_on]
        gaps = high - low + 1 != count
        if gaps.any():
            at = int(gaps[of].nonzero()[0])
            values = (goes_on[group == of[at]] % view.image.levels).tolist()
            broken(
                "support",
                f"what keeps the view possible is no interval at (channel, row, column) {place[1:]}",
                **_example(view, image, own, at),
                possible=values,
            )
        _check_exact(view, image, own, found, place, of, low, high)
        # Of images with another's view, as long as their beginning can be completed to it.
        of = torch.searchsorted(before, tried).clamp(max=len(before) - 1)
        going = before[of] == tried
        _check_exact(view, image, other, free, place, torch.where(going, of, -1), low, high)
        tried_on = tried * view.image.levels + value
        of = torch.searchsorted(goes_on, tried_on).clamp(max=len(goes_on) - 1)
        tried = torch.where((goes_on[of] == tried_on) & (tried >= 0), of, -1)
        begun = begun_on
    if not torch.equal(inside, fits):
        row = int((inside & ~fits).nonzero()[0])
        broken("support", "every value is possible given a view that is another", **_example(view, image, other, row))


def _check_exact(
    view: View,
    image: Tensor,
    given: Tensor,
    found: Interval,
    place: tuple[Any, ...],
    of: Tensor,
    low: Tensor,
    high: Tensor,
) -> None:
    """Intervals at a place are `low` … `high` at `of`, (b,); not where that is -1."""
    wrong = (of >= 0) & ((found.low[place] != low[of]) | (found.high[place] != high[of]))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        broken(
            "support",
            f"what can be completed to an image of the view, at (channel, row, column) {place[1:]} given what is "
            f"before, are the values {int(low[of[row]])} … {int(high[of[row]])}",
            **_example(view, image, given, row),
            interval=_at(found, row, place[1:]),
        )


# Small things ---------------------------------------------------------------------------------------------------------


def _places(spec: ImageSpec) -> list[tuple[int, int, int]]:
    """(channel, row, column) of every sub-pixel in the order in which they are drawn."""
    return [(c, y, x) for y in range(spec.height) for x in range(spec.width) for c in range(spec.channels)]


def _some(places: Sequence[Place]) -> list[Place]:
    """All of few places, some of many: the first, the last and what lies evenly between."""
    if len(places) <= MOST_PLACES:
        return list(places)
    return [places[k * (len(places) - 1) // (MOST_PLACES - 1)] for k in range(MOST_PLACES)]


@functools.lru_cache(maxsize=64)
def _order(spec: ImageSpec) -> Tensor:
    """When each sub-pixel is drawn: 0, 1, 2 …, (c, h, w)."""
    return torch.arange(spec.dims).view(spec.height, spec.width, spec.channels).permute(2, 0, 1)


def _differs(first: Interval, second: Interval) -> Tensor:
    return (first.low != second.low) | (first.high != second.high)


def _follows(image: Tensor, found: Interval) -> Tensor:
    """Booleans (b, c, h, w): all values before are in their intervals, so that those that follow are of account."""
    channels, height, width = image.shape[1:]
    wrong = ((image < found.low) | (image > found.high)).permute(0, 2, 3, 1).flatten(1).to(torch.int64)
    before = wrong.cumsum(1) - wrong
    return (before == 0).view(-1, height, width, channels).permute(0, 3, 1, 2)


def _equal(first: Interval, second: Interval, message: str, **example: object) -> None:
    wrong = _differs(first, second)
    if wrong.any():
        row, place = _first(wrong)
        found, expected = _at(first, row, place), _at(second, row, place)
        message = f"{message}: at (channel, row, column) {place} {found} instead of {expected}"
        broken("support", message, **example)


def _row(found: Interval, index: int) -> Interval:
    return found.of(slice(index, index + 1))


def _first(wrong: Tensor) -> tuple[int, tuple[int, ...]]:
    """Row and (channel, row, column) of the first true value of (b, c, h, w)."""
    row, *place = wrong.nonzero()[0].tolist()
    return row, tuple(place)


def _at(found: Interval, row: int, place: tuple[int, ...]) -> tuple[int, int]:
    return int(found.low[row][place]), int(found.high[row][place])


def _example(view: View, image: Tensor, given: Tensor, row: int | None = None) -> dict[str, object]:
    rows = slice(None) if row is None else slice(row, row + 1)
    return {"built_for": view.image, "image": image[rows], "view": given[rows]}
