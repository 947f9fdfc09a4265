"""The check of the law `support` of views.

Given the earlier sub-pixels, an interval must contain exactly the values that can be completed to an image with the
given view. Specs with few images are checked with all of them. Walks, which give intervals pixel by pixel, must agree.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.model import ImageSpec, Interval, Known, RepeatedWalk, Support, View, Walk
from auxar.model.sum_support import SumWalk
from auxar.testing.centers import check_centers
from auxar.testing.examples import SEEDS, all_images, extreme_images, images, random_images, random_known, specs_of
from auxar.testing.intervals import Found, check_earlier, check_intervals, interval_function, intervals, places
from auxar.testing.laws import broken, calling, check_built, check_equal, check_tensor, fitting, search

EXAMPLES = 20
"""The number of examples that the search tries."""
ENOUGH = 64
"""The largest number of sub-pixels of an image in the search. Larger images are used only if the view accepts none of
this size."""
MANY = 9
"""The number of images of a large batch."""
MOST_IMAGES = 70_000
"""The largest number of possible images of a spec. Specs with more images are not enumerated."""
ALL_IMAGES = 30_000
"""The largest number of enumerated images of all specs together. The smallest accepted spec is always enumerated."""
SPACES = specs_of(
    "1×1×1 256, 1×1×3 5, 1×1×3 8, 1×1×3 16, 1×1×3 40, 1×2×1 64, 1×2×1 256, 1×2×3 4, 2×1×3 3, 2×2×1 3, "
    "2×2×1 4, 2×2×1 8, 2×2×1 16, 2×2×3 2, 2×4×1 3, 4×2×1 3, 1×6×1 4, 3×3×1 2, 3×3×1 3, 3×5×1 2, 4×4×1 2"
)
"""Image specs with so few images that all of them, and their views, can be enumerated."""
Choose = Callable[[Tensor, int, Interval], Tensor]
"""Chooses the values at places (n,) of a channel from their intervals (n, b)."""


def check_supports(build: Callable[[ImageSpec], View], views: dict[ImageSpec, View], *, chosen: bool) -> None:
    """Checks the supports of the views. Views without a support are skipped.

    If `chosen`, the caller selected the specs in `views`, and no other specs are tried. Raises `ContractError` if a
    support is wrong. Warns if no spec is small enough to compare intervals with an enumeration of all images.
    """
    supported = {spec: view for spec, view in views.items() if view.support is not None}
    if not supported:
        return
    spaces = _enumerable_views(build, list(supported) if chosen else SPACES)
    for view in (*supported.values(), *spaces):
        check_built(view.support, Support, "the view's `support` must be None or", image=view.image)
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
        example=st.sampled_from(specs).flatmap(lambda spec: st.tuples(st.just(supported[spec]), images(spec), SEEDS)),
    )
    # The search rarely produces images whose sums overflow a byte, or whose values are all at the ends of the range.
    most = max(spec.levels for spec in supported)
    for spec, view in supported.items():
        if chosen or spec.levels == most:
            check_intervals(view, extreme_images(spec))
    # A walk with many images, which may be large. `RepeatedWalk` is right if intervals are, but too slow.
    largest = supported[max(supported, key=lambda spec: spec.dims)]
    given = largest(random_images(MANY, largest.image, 0))
    if not isinstance(_walk_of(largest, given), RepeatedWalk):
        _check_drawn(largest, given, torch.Generator().manual_seed(0))


def _check_example(view: View, image: Tensor, seed: int) -> None:
    noise, given = torch.Generator().manual_seed(seed), view(image)
    noisy = random_images(len(image), view.image, seed)
    check_intervals(view, image)
    reach = _walk_of(view, given).reach
    check_centers(view, image, noisy, reach)
    _check_along(view, image, given)
    drawn = _check_drawn(view, given, noise)
    for first, second in ((image, noisy), (image, drawn), (drawn, image)):
        check_earlier(interval_function(view), first, second, given, view.image, reach, "support")
    check_intervals(view, drawn)
    known = _known(view, image, seed, noise)
    _check_along(view, image, given, known)
    _check_drawn(view, given, noise, known)
    _check_along(view, noisy, given, follows=False)


def _known(view: View, image: Tensor, seed: int, noise: torch.Generator) -> Known:
    """Some pixels of the images, and sometimes limits of the other pixels that allow those of the images."""
    share, limited = torch.rand(2, generator=noise).tolist()
    known = random_known(image, view.image, seed, share)
    # Values of unknown pixels must be ignored, so they are set to -1.
    known = attrs.evolve(known, values=torch.where(known.mask[:, None], image, -1))
    return known if limited < 0.5 else attrs.evolve(known, limits=None)


def _enumerable_views(build: Callable[[ImageSpec], View], candidates: Sequence[ImageSpec]) -> list[View]:
    """Views, with supports, for specs whose images can all be enumerated, in order of the number of images."""
    # The number of sub-pixels is tested first, because the power is slow to compute for large images.
    small = [spec for spec in candidates if spec.dims <= 17 and spec.levels**spec.dims <= MOST_IMAGES]
    found: list[View] = []
    total = 0
    for spec in fitting(build, None, sorted(small, key=lambda spec: spec.levels**spec.dims), "images", needed=False):
        view = build(spec)
        total += spec.levels**spec.dims
        if view.support is not None and (not found or total <= ALL_IMAGES):
            found.append(view)
    return found


def _check_space(view: View) -> None:
    """Compares intervals with an enumeration of all images.

    For each image and each of its prefixes (the first sub-pixels in drawing order), the interval of the next sub-pixel
    must contain exactly the values that, together with the prefix, can be completed to an image with the given view.
    Each image is given its own view, and another one, which is checked as long as some image with that view starts with
    the prefix. Existing pairs of a view and a prefix are numbered, and the possible next values are grouped by these
    numbers.
    """
    single, levels = all_images(view.image), view.image.levels
    own, noise = view(single), torch.Generator().manual_seed(0)
    # The other views are views of other images, or random ones.
    half, order = torch.rand(len(own), 1, 1, 1, generator=noise) < 0.5, torch.randperm(len(own), generator=noise)
    others = torch.where(half, own[order], random_images(len(own), view.view, 0))
    image, given = torch.cat([single, single]), torch.cat([own, others])
    number = given.flatten(1).unique(dim=0, return_inverse=True)[1]
    exists, prefix = number[: len(single)], number.where(torch.isin(number, number[: len(single)]), -1)
    found = intervals(view, image, given)
    for place in places(view.image):
        values = image[(..., *place)]
        longer, exists_on = (exists * levels + values[: len(single)]).unique(return_inverse=True)
        _check_exact(found, place, longer, prefix)
        prefix = _find(longer, torch.where(prefix < 0, -1, prefix * levels + values))
        exists = exists_on
    wrong = found.outside(image).flatten(1).any(1) == (prefix >= 0)
    message = "all values of an image are in their intervals if and only if the image has the given view"
    found.check(wrong[:, None, None, None].expand_as(image), message)


def _check_exact(found: Found, place: tuple[int, int, int], longer: Tensor, prefix: Tensor) -> None:
    """Checks the intervals at a place, for images with an existing prefix: the others have the prefix -1.

    `longer` has the numbers of existing prefixes times `levels`, plus a possible next value, in ascending order.
    """
    levels = found.view.image.levels
    before, count = (longer // levels).unique_consecutive(return_counts=True)
    last = count.cumsum(0) - 1
    low, high = longer[last - count + 1] % levels, longer[last] % levels
    of, at = _find(before, prefix), (..., *place)
    wrong = torch.zeros(found.image.shape, dtype=torch.bool)
    wrong[at] = (of >= 0) & (high - low + 1 != count)[of]
    found.check(wrong, "the values that can be completed to an image with the view have gaps, so no interval is exact")
    wrong[at] = (of >= 0) & ((found.low[at] != low[of]) | (found.high[at] != high[of]))
    message = "given the earlier sub-pixels, the interval must have the values that can be completed to such an image"
    found.check(wrong, message)


def _find(numbers: Tensor, wanted: Tensor) -> Tensor:
    """The place of each wanted number in ascending numbers ≥ 0, and -1 if it is not among them."""
    of = torch.searchsorted(numbers, wanted).clamp(max=len(numbers) - 1)
    return of.where(numbers[of] == wanted, -1)


def _walk_of(view: View, given: Tensor, known: Known | None = None) -> Walk:
    """A new walk of the view's support. Checks its `reach`."""
    assert view.support is not None
    with calling("Support.walk", given):
        walk = view.support.walk(given, known)
        if not isinstance(walk, Walk) or not isinstance(walk.reach, int) or walk.reach < 0:
            broken("support", "Support.walk must return an auxar.Walk whose reach is an integer ≥ 0", walk=walk)
    return walk


def _check_along(view: View, image: Tensor, given: Tensor, known: Known | None = None, *, follows: bool = True) -> None:
    """Checks that a walk along an image gives the same intervals and centers as the support.

    If pixels of the image are known, the intervals may be narrower, but must contain the values of the image. If not
    `follows`, the image need not have the given view, and the walk gives centers alone, as for a free decoder.
    """
    assert view.support is not None
    flat, walk, centers = _by_place(image), _walk_of(view, given, known), view.support.centers(image, given)

    def choose(places: Tensor, channel: int, _: Interval) -> Tensor:
        if channel == 0:
            _check_centers(walk, places, centers, given, known)
        return flat[:, channel, places].T

    _, walked = _walked(view, walk, given, choose, asks=follows)
    if not follows:
        return
    expected, found = intervals(view, image, given), Found(walked.low, walked.high, view, image, given)
    message = "in a walk along an image, the interval "
    found.check((found.low < expected.low) | (found.high > expected.high), f"{message}extends beyond Support.intervals")
    narrow = (found.low > expected.low) | (found.high < expected.high)
    wrong, what = (
        (narrow, "is narrower than") if known is None else (found.outside(image), "leaves out the value, unlike")
    )
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
        message = f"the centers of a walk{' with known pixels' * (known is not None)} differ from Support.centers"
        check_equal("centers", message, found[inside], centers.flatten(2).permute(2, 0, 1)[places[inside]], view=given)


def _check_drawn(view: View, given: Tensor, noise: torch.Generator, known: Known | None = None) -> Tensor:
    """Checks that a walk along possible values (lowest, highest or random) gives an image with the given view.

    If pixels are known, which come from an image with the view, this is only checked for a `SumWalk`: other walks need
    not look ahead. Returns the image.
    """
    walk, levels = _walk_of(view, given, known), view.image.levels
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
