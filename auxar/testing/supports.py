"""The check of the law `support` of views.

Given the earlier sub-pixels, an interval must contain exactly the values that can be completed to an image with the
given view.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.model import INTEGER_DTYPES, ImageSpec, Interval, Known, RepeatedWalk, Support, View, Walk
from auxar.model.support import SumWalk
from auxar.testing.centers import check_centers
from auxar.testing.examples import SEEDS, all_images, extreme_images, images, random_images
from auxar.testing.laws import (
    ContractError,
    broken,
    channels_last,
    columns_first,
    described,
    devices,
    fitting,
    runs,
    search,
)

Place = TypeVar("Place")

EXAMPLES = 20
"""The number of examples that the search tries."""
ENOUGH = 64
"""The largest number of sub-pixels of an image in the search. Larger images are used only if the view accepts none of
this size."""
MANY = 9
"""The number of images of a large batch."""
MOST_PLACES = 200
"""The largest number of sub-pixels of an image that are changed one by one. Larger images use evenly spaced ones."""
MOST_IMAGES = 70_000
"""The largest number of possible images of a spec. Specs with more images are not enumerated."""
ALL_IMAGES = 30_000
"""The largest number of enumerated images of all specs together. The smallest accepted spec is always enumerated."""
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
"""Image specs with so few images that all of them, and their views, can be enumerated."""


LAYOUTS = (channels_last, columns_first)
"""Functions that copy a tensor to another memory layout. Intervals must not depend on the layout."""


def check_supports(build: Callable[[ImageSpec], View], views: dict[ImageSpec, View], *, chosen: bool) -> None:
    """Checks the supports of the views. Views without a support are skipped.

    If `chosen`, the caller selected the specs in `views`, and no other specs are tried. Raises `ContractError` if a
    support is wrong. Warns if no spec is small enough to compare intervals with an enumeration of all images.
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
        message = "no accepted image spec has few enough possible images"
        warnings.warn(f"intervals of a support were not compared with all images: {message}", stacklevel=3)
    specs = list(supported)
    if not chosen:
        specs = [spec for spec in specs if spec.dims <= ENOUGH] or specs[:1]
    search(
        lambda example: _check_example(*example),
        EXAMPLES,
        example=st.sampled_from(specs).flatmap(lambda spec: _examples(supported[spec], spec)),
    )
    # The search rarely produces images whose sums overflow a byte, or whose values are all at the ends of the range.
    most = max(spec.levels for spec in supported)
    for spec, view in supported.items():
        if chosen or spec.levels == most:
            _check_intervals(view, extreme_images(spec))
    _check_many(supported[max(supported, key=lambda spec: spec.dims)])


def _support(view: View, spec: ImageSpec) -> Support:
    if not isinstance(view.support, Support):
        broken(
            "support",
            f"the view's `support` must be an auxar.Support or None, got {described(view.support)}",
            built_for=spec,
        )
    if getattr(view.support, "image", None) != spec:
        found = getattr(view.support, "image", None)
        broken("support", f"the support's `image` must be the view's `image`, got {found}", built_for=spec)
    return view.support


def _spaces(build: Callable[[ImageSpec], View], candidates: Sequence[ImageSpec]) -> list[View]:
    """Views, with supports, for specs whose images can all be enumerated, in order of the number of images."""
    # The number of sub-pixels is tested first, because the power is slow to compute for large images.
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
    """The integer dtypes that can hold the values 0 … levels - 1, widest first."""
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
    check_centers(view, image, noisy, noise)


# Intervals of whole images --------------------------------------------------------------------------------------------


def _intervals(view: View, image: Tensor, given: Tensor) -> Interval:
    """The support's intervals.

    Checks their dtype and shape, and that computing them changes neither the image nor the view.
    """
    assert view.support is not None
    before = image.clone(), given.clone()
    with runs("Support.intervals", image=image, view=given):
        found = view.support.intervals(image, given)
        for values in (found.low, found.high):
            if not isinstance(values, Tensor) or values.dtype != torch.int64 or values.shape != image.shape:
                expected = f"torch.int64 of shape {tuple(image.shape)}"
                broken("support", f"Support.intervals must return {expected}, got {described(values)}", image=image)
    if not torch.equal(image, before[0]) or not torch.equal(given, before[1]):
        broken("support", "Support.intervals changes its input image or view", image=before[0], view=before[1])
    return found


def _check_intervals(view: View, image: Tensor) -> None:
    """Checks the intervals of images given their own views.

    They must contain the values of the images, must not leave out a possible value next to either end, and must not
    depend on batch, dtype, memory layout or device.
    """
    given = view(image)
    found = _intervals(view, image, given)
    wrong = (image < found.low) | (image > found.high) | (found.low < 0) | (found.high >= view.image.levels)
    if wrong.any():
        row, place = _first(wrong)
        interval = _at(found, row, place)
        inside = interval[0] <= image[row][place] <= interval[1]
        broken(
            "support",
            f"given the image's own view, the interval at (channel, row, column) {place} "
            f"{'extends outside [0, levels)' if inside else 'does not contain the value of the image'}",
            **_example(view, image, given, row),
            interval=interval,
        )
    _check_outside(view, image, given, found)
    for index in range(len(image)):
        alone = _intervals(view, image[index : index + 1], given[index : index + 1])
        _equal(
            alone,
            _row(found, index),
            "the intervals of an image alone differ from its intervals in a batch",
            image=image,
            index=index,
        )
    _intervals(view, image[:0], given[:0])
    for dtype in _dtypes(view.image.levels):
        same = _intervals(view, image.to(dtype), given)
        _equal(same, found, f"the intervals change for an image in {dtype}", **_example(view, image, given))
    for dtype in _dtypes(view.view.levels):
        same = _intervals(view, image, given.to(dtype))
        _equal(same, found, f"the intervals change for a view in {dtype}", **_example(view, image, given))
    for layout in LAYOUTS:
        same = _intervals(view, layout(image), layout(given))
        _equal(same, found, "the intervals depend on the memory layout", **_example(view, image, given))
    for device in devices()[1:]:
        moved = _intervals(view, image.to(device), given.to(device))
        if moved.low.device.type != device.type or moved.high.device.type != device.type:
            places = f"{moved.low.device} (low) and {moved.high.device} (high)"
            broken("support", f"intervals for a view on {device} must be on that device, got {places}")
        back = Interval(moved.low.cpu(), moved.high.cpu())
        _equal(back, found, f"the intervals on {device} differ from those on the CPU", **_example(view, image, given))


def _check_outside(view: View, image: Tensor, given: Tensor, found: Interval) -> None:
    """Checks that values just outside an interval are impossible: putting one into the image must change its view."""
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
                    f"the interval at (channel, row, column) {place[1:]} does not contain {int(beside[index])}, but "
                    "with this value the image keeps its view",
                    **_example(view, image, given, index),
                    interval=_at(found, index, place[1:]),
                )


def _check_order(view: View, image: Tensor, other: Tensor, given: Tensor) -> None:
    """Checks that an interval depends on earlier sub-pixels alone.

    All sub-pixels from an index on are replaced by those of another image. Intervals up to that index must not change.
    """
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
                f"the interval at (channel, row, column) {place} must depend on earlier sub-pixels alone, but changes "
                f"with sub-pixels from {changed} on",
                image=image[row],
                with_another=mixed[number],
                view=given[row],
            )


def _check_reach(view: View, image: Tensor, other: Tensor, given: Tensor) -> None:
    """Checks the `reach` of the walk.

    In the rows above a pixel, everything more than `reach` columns to its right is replaced by another image's values.
    The intervals of the pixel must not change.
    """
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
                f"the interval at (channel, row, column) {(channel, *divmod(int(places[number]), spec.width))} depends "
                f"on pixels of rows above that are further to its right than the walk's reach of {reach} columns",
                image=image[row],
                with_another=mixed[number],
                view=given[row],
            )


# Intervals of walks ---------------------------------------------------------------------------------------------------


def _walk(view: View, given: Tensor, known: Known | None = None) -> Walk:
    assert view.support is not None
    with runs("Support.walk", view=given):
        walk = view.support.walk(given, known)
        if not isinstance(walk, Walk) or not isinstance(walk.reach, int) or walk.reach < 0:
            broken("support", "Support.walk must return an auxar.Walk whose reach is an integer ≥ 0", walk=walk)
    return walk


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


def _walked(
    view: View, walk: Walk, given: Tensor, choose: Callable[[Tensor, int, Interval], Tensor]
) -> tuple[Tensor, Interval]:
    """Walks through all pixels, taking the values that `choose(places, channel, interval)` returns.

    Returns the resulting image and the intervals, int64.
    """
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
                        broken("support", f"Walk.interval must return {expected}, got {described(bound)}")
            free = (found.low <= 0) & (found.high >= spec.levels - 1)
            if not free[places == outside].all():
                broken("support", "Walk.interval must allow every value at a place outside the image", view=given)
            values = choose(places, channel, found)
            taken = values.clone()
            with runs("Walk.take", view=given, places=places):
                walk.take(places, channel, taken)
            if not torch.equal(taken, values):
                broken("support", "Walk.take changes the values that it gets", view=given, values=values)
            image[channel, places], low[channel, places], high[channel, places] = values, found.low, found.high
    if not torch.equal(given, before):
        broken("support", "the walk changes its input view", view=before)
    image, low, high = (values[:, :-1].permute(2, 0, 1).unflatten(2, spec.shape[1:]) for values in (image, low, high))
    return image, Interval(low, high)


def _check_walk(view: View, image: Tensor, given: Tensor) -> None:
    """Checks that a walk along an image gives the same intervals as `Support.intervals`."""
    by_place = _by_place(image)
    _, found = _walked(
        view, _walk(view, given), given, lambda places, channel, interval: by_place[:, channel, places].T
    )
    expected = _intervals(view, image, given)
    _equal(
        found,
        expected,
        "the intervals of a walk along the image differ from Support.intervals",
        **_example(view, image, given),
    )


def _check_drawn(view: View, given: Tensor, noise: torch.Generator) -> Tensor:
    """Checks that a walk along possible values (lowest, highest or random) gives an image with the given view.

    Returns that image.
    """
    kind = torch.randint(4, (len(given),), generator=noise)

    def choose(places: Tensor, channel: int, found: Interval) -> Tensor:
        empty = found.low > found.high
        if empty.any():
            place = int(places[empty.any(1)][0])
            broken(
                "support",
                f"in a walk along possible values, the interval is empty at (channel, row, column) "
                f"{(channel, *divmod(place, view.image.width))}",
                view=given,
                image=view.image,
            )
        return _any(found, kind, view.image.levels, noise)

    image, _ = _walked(view, _walk(view, given), given, choose)
    _check_view(view, image, given, "a walk along possible values gives an image with another view")
    return image


def _check_many(view: View) -> None:
    """Checks a walk with many images, which may be large. `RepeatedWalk` is right if intervals are, but too slow."""
    given = view(random_images(MANY, view.image, 0))
    if not isinstance(_walk(view, given), RepeatedWalk):
        _check_drawn(view, given, torch.Generator().manual_seed(0))


def _check_known(view: View, image: Tensor, given: Tensor, noise: torch.Generator) -> None:
    """Checks walks in which some pixels of an image with the view are known, and the others may have limits.

    A walk along the image must contain its values, and may only narrow the intervals of `Support.intervals`. Other
    walks must not fail. If it is a `SumWalk`, they must give an image with the view.
    """
    share = torch.rand((), generator=noise)
    mask = torch.rand(len(image), *image.shape[2:], generator=noise) < share
    # Values of unknown pixels must be ignored, so they are set to -1.
    known = Known(torch.where(mask[:, None], image, -1), mask)
    top = view.image.levels - 1
    low, high = (
        (torch.rand(image.shape, generator=noise) * size).to(torch.int64) for size in (image + 1, top + 1 - image)
    )
    if torch.rand((), generator=noise) < 0.5:
        known = attrs.evolve(known, limits=Interval(image - low, image + high))
    _check_known_along(view, image, given, known)
    _check_known_drawn(view, given, known, noise)


def _check_known_along(view: View, image: Tensor, given: Tensor, known: Known) -> None:
    by_place = _by_place(image)
    _, found = _walked(
        view, _walk(view, given, known), given, lambda places, channel, _: by_place[:, channel, places].T
    )
    expected = _intervals(view, image, given)
    for wrong, message in (
        ((image < found.low) | (image > found.high), "does not contain the value of the image"),
        ((found.low < expected.low) | (found.high > expected.high), "extends beyond that of Support.intervals"),
    ):
        if wrong.any():
            row, place = _first(wrong)
            broken(
                "support",
                f"in a walk along an image of which pixels are known, the interval at (channel, row, column) {place} "
                f"{message}",
                **_example(view, image, given, row),
                known=known.mask[row],
                interval=_at(found, row, place),
            )


def _check_known_drawn(view: View, given: Tensor, known: Known, noise: torch.Generator) -> None:
    kind = torch.randint(4, (len(given),), generator=noise)
    walk = _walk(view, given, known)
    low, high = (_by_place(ends) for ends in (known.lowest(), known.highest(view.image.levels)))

    def choose(places: Tensor, channel: int, found: Interval) -> Tensor:
        ends = (ends[:, channel, places].T for ends in (low, high))
        return _any(found, kind, view.image.levels, noise).clamp(*ends)

    drawn, _ = _walked(view, walk, given, choose)
    if isinstance(walk, SumWalk):
        _check_view(
            view,
            drawn,
            given,
            "if the known pixels come from an image with the given view, a walk must give an image with this view",
        )


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


def _check_view(view: View, image: Tensor, given: Tensor, message: str) -> None:
    found = view(image)
    if not torch.equal(found, given.to(torch.int64)):
        row = int((found != given).flatten(1).any(1).nonzero()[0])
        broken("support", message, built_for=view.image, view=given[row], image=image[row], its_view=found[row])


# Enumeration of all images --------------------------------------------------------------------------------------------


def _check_space(view: View) -> None:
    """Compares intervals with an enumeration of all images.

    For each image and each of its prefixes (the first sub-pixels in drawing order), the interval of the next sub-pixel
    must contain exactly the values that, together with the prefix, can be completed to an image with the given view.
    The given view is first the view of the image itself. Then it is another view, which is checked as long as some
    image with that view starts with the prefix. Existing pairs of a prefix and a view are numbered, and the possible
    next values are grouped by these numbers.
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
                f"the possible values have gaps at (channel, row, column) {place[1:]}, so no interval is exact",
                **_example(view, image, own, at),
                possible=values,
            )
        _check_exact(view, image, own, found, place, of, low, high)
        # The other view is checked as long as some image with that view starts with the prefix.
        of = torch.searchsorted(before, tried).clamp(max=len(before) - 1)
        going = before[of] == tried
        _check_exact(view, image, other, free, place, torch.where(going, of, -1), low, high)
        tried_on = tried * view.image.levels + value
        of = torch.searchsorted(goes_on, tried_on).clamp(max=len(goes_on) - 1)
        tried = torch.where((goes_on[of] == tried_on) & (tried >= 0), of, -1)
        begun = begun_on
    if not torch.equal(inside, fits):
        row = int((inside & ~fits).nonzero()[0])
        message = "all values of an image are in their intervals, although the image does not have the given view"
        broken("support", message, **_example(view, image, other, row))


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
    """Checks the intervals at a place: that of image k must be `low[of[k]]` … `high[of[k]]`.

    Images with `of[k] == -1` are skipped.
    """
    wrong = (of >= 0) & ((found.low[place] != low[of]) | (found.high[place] != high[of]))
    if wrong.any():
        row = int(wrong.nonzero()[0])
        broken(
            "support",
            f"the interval at (channel, row, column) {place[1:]} must be {int(low[of[row]])} … {int(high[of[row]])}: "
            "given the earlier sub-pixels, exactly these values can be completed to an image with the view",
            **_example(view, image, given, row),
            interval=_at(found, row, place[1:]),
        )


# Helpers --------------------------------------------------------------------------------------------------------------


def _places(spec: ImageSpec) -> list[tuple[int, int, int]]:
    """(channel, row, column) of every sub-pixel in the order in which they are drawn."""
    return [(c, y, x) for y in range(spec.height) for x in range(spec.width) for c in range(spec.channels)]


def _some(places: Sequence[Place]) -> list[Place]:
    """At most `MOST_PLACES` of the places, evenly spaced, including the first and the last."""
    if len(places) <= MOST_PLACES:
        return list(places)
    return [places[k * (len(places) - 1) // (MOST_PLACES - 1)] for k in range(MOST_PLACES)]


@functools.lru_cache(maxsize=64)
def _order(spec: ImageSpec) -> Tensor:
    """The index of each sub-pixel in the order of drawing, int64 (c, h, w)."""
    return torch.arange(spec.dims).view(spec.height, spec.width, spec.channels).permute(2, 0, 1)


def _differs(first: Interval, second: Interval) -> Tensor:
    return (first.low != second.low) | (first.high != second.high)


def _follows(image: Tensor, found: Interval) -> Tensor:
    """Whether all earlier values are in their intervals, booleans (b, c, h, w). If not, an interval is meaningless."""
    channels, height, width = image.shape[1:]
    wrong = ((image < found.low) | (image > found.high)).permute(0, 2, 3, 1).flatten(1).to(torch.int64)
    before = wrong.cumsum(1) - wrong
    return (before == 0).view(-1, height, width, channels).permute(0, 3, 1, 2)


def _equal(first: Interval, second: Interval, message: str, **example: object) -> None:
    wrong = _differs(first, second)
    if wrong.any():
        row, place = _first(wrong)
        found, expected = _at(first, row, place), _at(second, row, place)
        message = f"{message}: at (channel, row, column) {place}, got {found}, expected {expected}"
        broken("support", message, **example)


def _row(found: Interval, index: int) -> Interval:
    return found.of(slice(index, index + 1))


def _first(wrong: Tensor) -> tuple[int, tuple[int, ...]]:
    """The batch index and the (channel, row, column) of the first true value of a tensor (b, c, h, w)."""
    row, *place = wrong.nonzero()[0].tolist()
    return row, tuple(place)


def _at(found: Interval, row: int, place: tuple[int, ...]) -> tuple[int, int]:
    return int(found.low[row][place]), int(found.high[row][place])


def _example(view: View, image: Tensor, given: Tensor, row: int | None = None) -> dict[str, object]:
    rows = slice(None) if row is None else slice(row, row + 1)
    return {"built_for": view.image, "image": image[rows], "view": given[rows]}
