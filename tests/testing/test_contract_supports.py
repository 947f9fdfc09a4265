"""Tests that the contract check of supports fails for intervals with one fault, and passes for correct ones."""

import warnings

import attrs
import pytest
import torch
from helpers.contract import tells

from auxar.model import ImageSpec, Interval, RepeatedWalk, SumSupport, Support, View, Walk
from auxar.model.support import SumWalk
from auxar.testing import ContractError, check_view
from auxar.testing.enumeration import MOST_IMAGES, SPACES
from auxar.testing.examples import SPECS
from auxar.testing.laws import fitting, keeps_state
from auxar.testing.supports import check_supports
from auxar_grayscale import BLUE, GREEN, RED, GrayscaleConfig, GrayscaleView
from auxar_pyramid import PyramidConfig, PyramidView

SQUARE = [ImageSpec(1, height=2, width=2, levels=4)]
SQUARES = [ImageSpec(1, height=4, width=4, levels=4)]
LARGE = [ImageSpec(1, height=4, width=4)]
LARGEST = [ImageSpec(1, height=12, width=8)]
COLORS = [ImageSpec(3, height=1, width=1, levels=16)]
MANY_COLORS = [ImageSpec(3, height=2, width=2)]


class Edited(Support):
    """A correct support whose intervals are changed by a function of low, high, image and view."""

    def __init__(self, right, edit):
        self.image = right.image
        self.right = right
        self.edit = edit

    def intervals(self, image, view):
        found = self.right.intervals(image, view)
        return Interval(*self.edit(found.low, found.high, image.to(torch.int64), view))


def pyramid(support):
    """Returns a builder of pyramid views. `support` makes the support of each view from the correct one."""

    def build(config, image):
        view = PyramidView(PyramidConfig(2), image)
        view.support = support(view.support)
        return view

    return build


def grayscale(support):
    def build(config, image):
        view = GrayscaleView(GrayscaleConfig(16), image)
        view.support = support(view.support)
        return view

    return build


def edited(edit):
    return lambda right: Edited(right, edit)


# Bounds that are off by one, everywhere and at a single rare place ---------------------------------------------------


def rare(low, high, image, levels):
    """Marks the last sub-pixels of squares that may be white, must not be black, and have several possible values."""
    last = (torch.arange(image.shape[2])[:, None] % 2 == 1) & (torch.arange(image.shape[3]) % 2 == 1)
    return (last & (high == levels - 1) & (low > 0) & (low < high)).to(torch.int64)


def whole(low, high, image, levels):
    return torch.ones_like(low)


def white(low, high, image, levels):
    """Marks the sub-pixels that have to be white."""
    return (low == levels - 1).to(torch.int64)


def off(low_by, high_by, where, levels):
    def edit(low, high, image, view):
        here = where(low, high, image, levels)
        return low + low_by * here, high + high_by * here

    return edit


OFF_BY_ONE = {
    "low one too small": (-1, 0),
    "low one too large": (1, 0),
    "high one too small": (0, -1),
    "high one too large": (0, 1),
}


@pytest.mark.parametrize("where", [whole, rare])
@pytest.mark.parametrize(
    "images", [pytest.param(SQUARE, id="all images"), pytest.param(LARGE, id="256 levels", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("by", OFF_BY_ONE.values(), ids=OFF_BY_ONE)
def test_a_bound_that_is_off_by_one_is_caught(by, images, where):
    low_by, high_by = by
    catches(pyramid(edited(off(low_by, high_by, where, images[0].levels))), images)


# Other faults ---------------------------------------------------------------------------------------------------------


class HalfDown(SumSupport):
    """A support that assumes means that end in ½ to be rounded down instead of up."""

    def __init__(self, right):
        super().__init__(right.image, right._groups, lambda view: tuple(x + 1 for x in right.ranges(view)))


class Narrow(SumSupport):
    """A support that computes sums in the dtype of the view, where they overflow."""

    def __init__(self, right):
        super().__init__(right.image, right._groups, self.sums)

    def sums(self, view):
        lowest = (4 * view.flatten(1) - 2).to(torch.int64)
        return lowest, lowest + 3


class Backwards(Support):
    """A support that applies the weights of the colors in reverse order, blue first."""

    def __init__(self, right):
        self.image = right.image
        weights = torch.tensor([BLUE, GREEN, RED]).view(3, 1, 1)
        self.right = SumSupport(right.image, lambda: (right._groups()[0], weights), right.ranges)

    def intervals(self, image, view):
        found = self.right.intervals(image.flip(1), view)
        return Interval(found.low.flip(1), found.high.flip(1))


class Unclipped(Support):
    """A support whose intervals may exceed the largest value of the image."""

    def __init__(self, right):
        self.image = right.image
        self.right = right

    def intervals(self, image, view):
        wide = SumSupport(attrs.evolve(self.image, levels=10**6), self.right._groups, self.right.ranges)
        found = self.right.intervals(image, view)
        return Interval(found.low, wide.intervals(image, view).high)


def looking_at_itself(low, high, image, view):
    inside = low <= high
    return torch.where(inside, torch.maximum(low, torch.minimum(image - 1, high)), low), high


def looking_ahead(low, high, image, view):
    following = image.flatten(2).roll(-1, 2).view_as(image)
    return low, torch.where((following == 0) & (low < high) & (high < 3), high + 1, high)


def mixing_the_batch(low, high, image, view):
    return torch.minimum(low, low.flip(0)), high


def floating(low, high, image, view):
    return low.double(), high.double()


def of_another_shape(low, high, image, view):
    return low.flatten(1), high.flatten(1)


def clipped_too_late(low, high, image, view):
    return low - (low == 0).to(torch.int64), high


def changing_the_view(low, high, image, view):
    view.clamp_(max=1)
    return low, high


def strided(low, high, image, view):
    return low, high if view.is_contiguous() else (high - 1).clamp(min=0)


class OtherWalk(SumWalk):
    """Base class of walks with one fault."""


class Short(OtherWalk):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.reach = 0


class Fractional(OtherWalk):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.reach = float(self.reach)  # type: ignore[assignment]


class Careless(OtherWalk):
    """A walk that counts values drawn outside the image as values of the last pixel."""

    def take(self, places, channel, values):
        super().take(places.clamp(max=places.numel() and self.groups.shape[1] - 2), channel, values)


class Closed(OtherWalk):
    """A walk whose intervals outside the image end at 0."""

    def interval(self, places, channel):
        found = super().interval(places, channel)
        return Interval(found.low, found.high.where(places[:, None] < self.groups.shape[1] - 1, 0))


class Mixing(OtherWalk):
    def interval(self, places, channel):
        found = super().interval(places, channel)
        return Interval(found.low, found.high.flip(1))


class Late(OtherWalk):
    """A walk that rounds drawn values down to even numbers before it counts them."""

    def take(self, places, channel, values):
        super().take(places, channel, values // 2 * 2)


class Blind(OtherWalk):
    """A walk that ignores known pixels."""

    def __init__(self, support, view, known):
        super().__init__(support, view, None)


class Boundless(OtherWalk):
    """A walk that ignores the limits of pixels that are not known."""

    def __init__(self, support, view, known):
        super().__init__(support, view, known and attrs.evolve(known, limits=None))


class LimitsOfTheFirst(OtherWalk):
    """A walk that uses the limits of the first image for all images."""

    def __init__(self, support, view, known):
        if known is not None and known.limits is not None:
            low, high = (ends[:1].expand_as(ends) for ends in (known.limits.low, known.limits.high))
            known = attrs.evolve(known, limits=Interval(low, high))
        super().__init__(support, view, known)


class Taking(OtherWalk):
    """A walk that changes the values that it gets."""

    def take(self, places, channel, values):
        super().take(places, channel, values)
        values.zero_()


class Clearing(OtherWalk):
    """A walk that changes the view at its end."""

    def __init__(self, support, view, known):
        super().__init__(support, view, known)
        self.view = view

    def take(self, places, channel, values):
        super().take(places, channel, values)
        if int(places[0]) == self.groups.shape[1] - 1:
            self.view.zero_()


class Failing(OtherWalk):
    def interval(self, places, channel):
        raise RuntimeError("lost")


class Full(OtherWalk):
    def take(self, places, channel, values):
        raise RuntimeError("full")


class OwnWalk(Walk):
    """A walk that is no `SumWalk` but gives its intervals."""

    def __init__(self, support, view, known):
        self.right = SumWalk(support, view, known)
        self.reach = self.right.reach

    def interval(self, places, channel):
        return self.right.interval(places, channel)

    def centers(self, places):
        return self.right.centers(places)

    def take(self, places, channel, values):
        self.right.take(places, channel, values)


class Cautious(OwnWalk):
    """A walk that excludes the highest possible value if pixels are known."""

    def __init__(self, support, view, known):
        super().__init__(support, view, known)
        self.less = int(known is not None)

    def interval(self, places, channel):
        found = super().interval(places, channel)
        inside = places[:, None] < self.right.groups.shape[1] - 1
        return Interval(found.low, found.high - self.less * (inside & (found.high > found.low)).to(torch.int64))


class Widening(OwnWalk):
    """A walk whose intervals are too wide if pixels are known."""

    def __init__(self, support, view, known):
        super().__init__(support, view, known)
        self.more = int(known is not None)

    def interval(self, places, channel):
        found = super().interval(places, channel)
        return Interval((found.low - self.more).clamp(min=0), found.high)


class OneForAll(SumSupport):
    """A support that gives the same walk at each call, although the walk has a state."""

    def __init__(self, right):
        super().__init__(right.image, right._groups, right.ranges)
        self.kept = {}

    def walk(self, view, known=None):
        key = (view.data_ptr(), len(view), known is None)
        return self.kept.setdefault(key, SumWalk(self, view, known))


class Rounding(OtherWalk):
    def interval(self, places, channel):
        found = super().interval(places, channel)
        return Interval(found.low.double(), found.high.double())


def walking(kind):
    class Walking(SumSupport):
        def __init__(self, right):
            super().__init__(right.image, right._groups, right.ranges)

        def walk(self, view, known=None):
            return kind(self, view, known)

    return Walking


class FewImages(SumWalk):
    """A walk that gives all images after the fourth the intervals of the fourth."""

    def interval(self, places, channel):
        found = super().interval(places, channel)
        images = torch.arange(found.low.shape[1]).clamp(max=3)
        return Interval(found.low[:, images], found.high[:, images])


class FewPlaces(SumWalk):
    """A walk that records the values of the first 64 pixels only."""

    def take(self, places, channel, values):
        super().take(places[places < 64], channel, values[places < 64])


class Elsewhere(SumSupport):
    """A support for an image with another number of levels."""

    def __init__(self, right):
        super().__init__(attrs.evolve(right.image, levels=right.image.levels + 1), right._groups, right.ranges)


BROKEN = {
    "rounded half down": (pyramid(HalfDown), SQUARE, "support"),
    "rounded half down, large": (pyramid(HalfDown), LARGE, "support"),
    "overflow of uint8": (pyramid(Narrow), LARGE, "dtype"),
    "channels in reverse": (grayscale(Backwards), COLORS, "support"),
    "channels in reverse, large": (grayscale(Backwards), MANY_COLORS, "support"),
    "without the clip": (pyramid(Unclipped), SQUARE, "support"),
    "without the clip, large": (pyramid(Unclipped), LARGE, "support"),
    "below 0": (pyramid(edited(clipped_too_late)), LARGE, "support"),
    "looks at the sub-pixel itself": (pyramid(edited(looking_at_itself)), SQUARE, "support"),
    "looks at the sub-pixel itself, large": (pyramid(edited(looking_at_itself)), LARGE, "support"),
    "looks ahead": (pyramid(edited(looking_ahead)), SQUARES, "support"),
    "mixes the batch": (pyramid(edited(mixing_the_batch)), LARGE, "batch"),
    "floats": (pyramid(edited(floating)), SQUARE, "support"),
    "another shape": (pyramid(edited(of_another_shape)), SQUARE, "support"),
    "changes the view": (pyramid(edited(changing_the_view)), SQUARE, "inputs"),
    "depends on strides": (pyramid(edited(strided)), SQUARES, "layout"),
    "another image": (pyramid(Elsewhere), SQUARE, "support"),
    "no support": (pyramid(lambda right: right.intervals), SQUARE, "support"),
    "reach too small": (pyramid(walking(Short)), SQUARES, "support"),
    "reach no integer": (pyramid(walking(Fractional)), SQUARES, "support"),
    "counts outside": (pyramid(walking(Careless)), SQUARES, "support"),
    "nothing outside": (pyramid(walking(Closed)), SQUARES, "support"),
    "walk mixes the batch": (pyramid(walking(Mixing)), SQUARES, "support"),
    "walk forgets": (pyramid(walking(Late)), SQUARES, "support"),
    "walk of floats": (pyramid(walking(Rounding)), SQUARES, "support"),
    "ignores limits": (pyramid(walking(Boundless)), SQUARES, "support"),
    "mixes limits": (pyramid(walking(LimitsOfTheFirst)), SQUARES, "support"),
    "walk changes the view": (pyramid(walking(Clearing)), SQUARE, "inputs"),
    "walk fails": (pyramid(walking(Failing)), SQUARE, "runs"),
    "walk does not take": (pyramid(walking(Full)), SQUARE, "runs"),
    "changes values": (pyramid(walking(Taking)), SQUARES, "inputs"),
    "too narrow if pixels are known": (pyramid(walking(Cautious)), SQUARES, "support"),
    "too wide if pixels are known": (pyramid(walking(Widening)), SQUARES, "support"),
    "one walk for all": (pyramid(OneForAll), SQUARES, "support"),
    "few images": (pyramid(walking(FewImages)), LARGEST, "support"),
    "few places": (pyramid(walking(FewPlaces)), LARGEST, "support"),
    "does not look ahead": (pyramid(walking(Blind)), SQUARES, "support"),
}


LONG = ("ignores limits", "mixes limits")
"""Mutants that take longer to be caught."""


@pytest.mark.parametrize(
    ("build", "images", "message"),
    [pytest.param(*BROKEN[name], id=name, marks=[pytest.mark.slow] if name in LONG else []) for name in BROKEN],
)
@pytest.mark.usefixtures("first_example")
def test_a_broken_support_is_caught(build, images, message):
    tells(catches(build, images), message)


def catches(build, images):
    """Asserts that the check of supports alone fails for a view; returns the error."""

    def make(spec):
        return build(None, spec)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "intervals of a support were not compared with all images")
        with pytest.raises(ContractError) as error:
            check_supports(make, {spec: make(spec) for spec in images}, chosen=True)
    return error


def test_the_contract_of_views_has_the_law():
    with pytest.raises(
        ContractError, match=r"^support: .*\n  built_for = 2×2×1 with 4 levels\n  place = .*\n  image = "
    ):
        check_view(pyramid(HalfDown), None, images=SQUARE)


class Parity(View):
    """The parity of each value. The values with a given parity form no interval."""

    def __init__(self, config, image):
        self.image = image
        self.view = attrs.evolve(image, levels=2)
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
    with pytest.raises(ContractError, match="so no interval is exact") as error:
        check_view(Parity, None)
    assert error.value.law == "support"


def test_all_images_of_the_specs_for_it_can_be_enumerated():
    assert all(spec.levels**spec.dims <= MOST_IMAGES for spec in SPACES)
    assert len(set(SPACES)) == len(SPACES)


def test_what_was_not_counted_is_told():
    with pytest.warns(UserWarning, match="not compared with all images"):
        check_view(PyramidView, PyramidConfig(2), images=LARGE)


# Correct supports -----------------------------------------------------------------------------------------------------


class BrightestView(View):
    """The maximum over 2×2 squares."""

    def __init__(self, config, image):
        self.means = PyramidView(PyramidConfig(2), image)
        self.image = image
        self.view = self.means.view
        self.support = BrightestSupport(image)

    def __call__(self, image):
        return image.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))


class BrightestSupport(Support):
    """The support of `BrightestView`. The last value of a square must be the maximum if none before it is."""

    def __init__(self, image):
        self.image = image

    def intervals(self, image, view):
        high = view.to(torch.int64).repeat_interleave(2, 2).repeat_interleave(2, 3)
        squares = image.to(torch.int64).unflatten(2, (-1, 2)).unflatten(4, (-1, 2))
        before = squares[:, :, :, 0].amax(4).maximum(squares[:, :, :, 1, :, 0])
        low = torch.zeros_like(high)
        # If a value of the square exceeds its maximum, the interval is empty.
        low[:, :, 1::2, 1::2] = torch.where(before < view, view, torch.where(before > view, view + 1, 0))
        return Interval(low, high)


def test_a_strangers_support_passes():
    check_view(BrightestView, None)
    support = BrightestView(None, SQUARE[0]).support
    assert isinstance(support.walk(torch.zeros(1, 1, 1, 1, dtype=torch.int64)), RepeatedWalk)


@pytest.mark.parametrize("by", OFF_BY_ONE.values(), ids=OFF_BY_ONE)
def test_a_strangers_support_that_is_off_by_one_is_caught(by):
    low_by, high_by = by

    class Off(BrightestView):
        def __init__(self, config, image):
            super().__init__(config, image)
            self.support = Edited(self.support, off(low_by, high_by, white, image.levels))

    catches(Off, SQUARE)


# The options differ from the defaults, which test_contract.py checks.
@pytest.mark.parametrize(
    ("build", "config"),
    [
        (PyramidView, PyramidConfig(3)),
        pytest.param(PyramidView, PyramidConfig(4), marks=pytest.mark.slow),
        (GrayscaleView, GrayscaleConfig(3)),
        # With 256 levels, the view has as many values as a byte holds.
        pytest.param(
            GrayscaleView,
            GrayscaleConfig(256),
            marks=pytest.mark.filterwarnings("ignore:intervals of a support were not compared with all images"),
        ),
    ],
)
def test_views_that_ship_have_a_right_support(build, config):
    def make(spec):
        return build(config, spec)

    views = {spec: make(spec) for spec in fitting(make, SPECS, False, "images")}
    assert all(view.support is not None for view in views.values())
    with keeps_state("the check"):
        check_supports(make, views, chosen=False)
