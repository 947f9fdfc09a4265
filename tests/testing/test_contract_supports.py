"""Tests that the contract check of supports fails for intervals with one fault."""

import attrs
import pytest
import torch
from helpers.contract import before, breaks, cases, mutant, setting, then

from auxar.model import ImageSpec, Interval, SumSupport, Support, View, Walk
from auxar.model.sum_support import SumWalk
from auxar.testing import check_view
from auxar.testing.supports import check_supports
from auxar_pyramid import PyramidConfig, PyramidView

SQUARE = ImageSpec(1, height=2, width=2, levels=4)
SQUARES = ImageSpec(1, height=4, width=4, levels=4)
LARGE = ImageSpec(1, height=4, width=4)
LARGEST = ImageSpec(1, height=12, width=8)

pytestmark = pytest.mark.filterwarnings("ignore:intervals of a support were not compared with all images")


class Edited(Support):
    """A correct support whose intervals are changed by a function of low, high, image and view."""

    def __init__(self, right, edit):
        self.image, self.right, self.edit = right.image, right, edit

    def intervals(self, image, view):
        found = self.right.intervals(image, view)
        return Interval(*self.edit(found.low, found.high, image.to(torch.int64), view))


def pyramid(support):
    """Returns a builder of pyramid views. `support` makes the support of each view from the correct one."""
    made = mutant(PyramidView, __init__=setting(support=lambda view: support(view.support)))
    return lambda image: made(PyramidConfig(2), image)


def edited(edit):
    return pyramid(lambda right: Edited(right, edit))


def sums(base=SumSupport, **edits):
    """A builder of pyramid views, whose supports are sums with a fault."""
    return pyramid(lambda right: mutant(base, **edits)(right.image, right._groups, right.ranges))


def ranging(ranges):
    """A builder of pyramid views, whose supports are sums with other ranges."""
    return pyramid(lambda right: SumSupport(right.image, right._groups, lambda view: ranges(right, view)))


def walking(base=SumWalk, **edits):
    """A builder of pyramid views, whose walks have a fault."""
    kind = mutant(base, **edits)
    return sums(walk=lambda self, right, view, known=None: kind(self, view, known))


def catches(law, build, image):
    """Asserts that the check of supports alone fails for a view."""
    found = breaks(law, check_supports, build, {image: build(image)}, chosen=True)
    assert law != "support" or "view = " in found or "input = " in found
    assert law != "runs" or found.startswith(("runs: Walk.take failed", "runs: Walk.interval failed"))


# Bounds that are off by one, everywhere and at a single rare place


def rare(low, high, image, levels):
    """Marks the last sub-pixels of squares that may be white, must not be black, and have several possible values."""
    last = (torch.arange(image.shape[2])[:, None] % 2 == 1) & (torch.arange(image.shape[3]) % 2 == 1)
    return (last & (high == levels - 1) & (low > 0) & (low < high)).to(torch.int64)


def whole(low, high, image, levels):
    return torch.ones_like(low)


def off(by, where, levels):
    def edit(low, high, image, view):
        here = where(low, high, image, levels)
        return low + by[0] * here, high + by[1] * here

    return edit


@pytest.mark.parametrize("where", [whole, rare])
@pytest.mark.parametrize(
    "image", [pytest.param(SQUARE, id="all images"), pytest.param(LARGE, id="256 levels", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("by", [(-1, 0), (1, 0), (0, -1), (0, 1)], ids=str)
def test_a_bound_that_is_off_by_one_is_caught(by, image, where):
    catches("support", edited(off(by, where, image.levels)), image)


# Faults in intervals


def in_bytes(right, view):
    """Sums are computed in the dtype of the view, where they overflow."""
    lowest = (4 * view.flatten(1) - 2).to(torch.int64)
    return lowest, lowest + 3


def looking_ahead(low, high, image, view):
    following = image.flatten(2).roll(-1, 2).view_as(image)
    return low, torch.where((following == 0) & (low < high) & (high < 3), high + 1, high)


def changing_the_view(low, high, image, view):
    view.clamp_(max=1)
    return low, high


HALF_DOWN = ranging(lambda right, view: tuple(end + 1 for end in right.ranges(view)))

# Faults in walks


def inside(self, places):
    return places[:, None] < self.groups.shape[1] - 1


def closed(self, right, places, channel):
    """Intervals outside the image end at 0."""
    found = right(places, channel)
    return Interval(found.low, found.high.where(inside(self, places), 0))


def lowest_for_all(known):
    """Limits of the first image for all images."""
    if known is None or known.limits is None:
        return known
    return attrs.evolve(known, limits=Interval(*(end[:1].expand_as(end) for end in attrs.astuple(known.limits))))


def taking(self, right, places, channel, values):
    right(places, channel, values)
    values.zero_()


def clearing(self, right, places, channel, values):
    """The view is changed at the end of the walk."""
    right(places, channel, values)
    if int(places[0]) == self.groups.shape[1] - 1:
        self.given.zero_()


def remembers_view(self, right, support, view, known):
    right(support, view, known)
    self.given = view


def ends(change):
    """An edit of intervals."""
    return then(lambda found: Interval(*change(found.low, found.high)))


def failing(*arguments):
    raise RuntimeError("lost")


class OwnWalk(Walk):
    """A walk that is no `SumWalk` but gives its intervals, from which others are derived."""

    def __init__(self, support, view, known):
        self.right = SumWalk(support, view, known)
        self.groups, self.reach, self.known = self.right.groups, self.right.reach, int(known is not None)

    def interval(self, places, channel):
        return self.right.interval(places, channel)

    def centers(self, places):
        return self.right.centers(places)

    def take(self, places, channel, values):
        self.right.take(places, channel, values)


def cautious(self, right, places, channel):
    """The highest possible value is excluded if pixels are known."""
    found = right(places, channel)
    less = inside(self, places) & (found.high > found.low)
    return Interval(found.low, found.high - self.known * less.to(torch.int64))


def widening(self, right, places, channel):
    """Intervals are too wide if pixels are known."""
    found = right(places, channel)
    return Interval((found.low - self.known).clamp(min=0), found.high)


BROKEN = {
    "rounded half down": ("support", HALF_DOWN, SQUARE),
    "overflow of uint8": ("dtype", ranging(in_bytes), LARGE),
    "below 0": ("support", edited(lambda low, high, *_: (low - (low == 0).to(torch.int64), high)), LARGE),
    "looks ahead": ("support", edited(looking_ahead), SQUARES),
    "mixes the batch": ("batch", edited(lambda low, high, *_: (torch.minimum(low, low.flip(0)), high)), LARGE),
    "another shape": ("support", edited(lambda low, high, *_: (low.flatten(1), high.flatten(1))), SQUARE),
    "changes the view": ("inputs", edited(changing_the_view), SQUARE),
    "depends on strides": (
        "layout",
        edited(lambda low, high, image, view: (low, high if view.is_contiguous() else (high - 1).clamp(min=0))),
        SQUARES,
    ),
    "another image": ("spec", sums(__init__=before(image=lambda image: attrs.evolve(image, levels=5))), SQUARE),
    "no support": ("spec", pyramid(lambda right: right.intervals), SQUARE),
    "reach too small": ("support", walking(__init__=setting(reach=0)), SQUARES),
    "reach no integer": ("support", walking(__init__=setting(reach=lambda walk: float(walk.reach))), SQUARES),
    "nothing outside": ("support", walking(interval=closed), SQUARES),
    "walk mixes the batch": ("support", walking(interval=ends(lambda low, high: (low, high.flip(1)))), SQUARES),
    "walk forgets": ("support", walking(take=before(values=lambda values: values // 2 * 2)), SQUARES),
    "walk of floats": ("support", walking(interval=ends(lambda low, high: (low.double(), high.double()))), SQUARES),
    "does not look ahead": ("support", walking(__init__=before(known=lambda known: None)), SQUARES),
    "mixes limits": ("support", walking(__init__=before(known=lowest_for_all)), SQUARES),
    "walk changes the view": ("inputs", walking(__init__=remembers_view, take=clearing), SQUARE),
    "walk fails": ("runs", walking(interval=failing), SQUARE),
    "walk does not take": ("runs", walking(take=failing), SQUARE),
    "changes values": ("inputs", walking(take=taking), SQUARES),
    "too narrow if pixels are known": ("support", walking(OwnWalk, interval=cautious), SQUARES),
    "too wide if pixels are known": ("support", walking(OwnWalk, interval=widening), SQUARES),
    "few images": (
        "support",
        walking(interval=ends(lambda *ends: (end[:, torch.arange(end.shape[1]).clamp(max=3)] for end in ends))),
        LARGEST,
    ),
}


@pytest.mark.parametrize(("law", "build", "image"), cases(BROKEN, slow=["mixes limits"]))
@pytest.mark.usefixtures("first_example")
def test_a_broken_support_is_caught(law, build, image):
    catches(law, build, image)


def test_the_contract_of_views_has_the_law():
    found = breaks("support", check_view, lambda config, image: HALF_DOWN(image), None, images=[SQUARE])
    assert "\n  built_for = 2×2×1 with 4 levels\n  place = " in found


class Parity(View):
    """The parity of each value. The values with a given parity form no interval."""

    def __init__(self, config, image):
        self.image, self.view = image, attrs.evolve(image, levels=2)
        self.support = Anything(image)

    def __call__(self, image):
        return image % 2


class Anything(Support):
    def __init__(self, image):
        self.image = image

    def intervals(self, image, view):
        low = torch.zeros(image.shape, dtype=torch.int64)
        return Interval(low, low + self.image.levels - 1)


def test_a_view_without_intervals_cannot_have_a_support():
    assert "so no interval is exact" in breaks("support", check_view, Parity, None)


def test_what_was_not_counted_is_told():
    with pytest.warns(UserWarning, match="not compared with all images"):
        check_view(PyramidView, PyramidConfig(2), images=[LARGE])
