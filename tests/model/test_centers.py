"""Tests of the centers of supports, and of models whose heads place distributions around them."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers.causal_networks import SEEDS, WORKING_ENGINES, assert_follows, generator, image_numbers, random_images
from helpers.chains import chain_of, grayscale, pyramid
from helpers.marks import with_slow
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.model import (
    CENTER_BITS,
    PARAMETER_BITS,
    REFERENCES,
    DrawSource,
    GivenView,
    ImageSpec,
    Interval,
    Known,
    NeighborWalk,
    SampleRequest,
    SumSupport,
    Support,
    Values,
    View,
    Walk,
    neighbor_centers,
    with_neighbors,
)
from auxar.model.sum_support import SumWalk
from auxar.testing import ContractError, check_view
from auxar.testing.examples import all_images, randomized
from auxar_bitplanes import BitplanesConfig, BitplanesView
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads import logistic_mixture
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers import RasterSampler, WavefrontSampler
from auxar_subsample import SubsampleConfig, SubsampleView

ONE = 2**CENTER_BITS


def exact_center(value, levels):
    """The center for an expected value, a `Fraction`: clamped to the levels and rounded down."""
    return math.floor((2 * min(max(value, 0), Fraction(levels - 1)) / (levels - 1) - 1) * ONE)


def centers_of(view, image, given):
    """The centers that the support of a view gives."""
    found = view.support.centers(image, given)
    assert found is not None
    return found


# Supports -------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, levels=st.sampled_from([2, 3, 256, 2**16]), factor=st.integers(2, 3), own=st.booleans())
def test_the_center_is_the_mean_of_what_is_left_of_a_block(seed, levels, factor, own):
    """It is the sum of the block minus its earlier pixels, divided by the number of the others, and is rounded once."""
    spec = ImageSpec(1, height=2 * factor, width=factor, levels=levels)
    view = PyramidView(PyramidConfig(factor), spec)
    image = random_images(1, spec, seed)
    means = view(image if own else random_images(1, spec, seed + 1))
    found = centers_of(view, image, means)
    area = factor**2
    for row in range(2 * factor):
        for column in range(factor):
            block = [
                (r, c) for r in range(factor * (row // factor), factor * (row // factor + 1)) for c in range(factor)
            ]
            earlier = [int(image[0, 0, r, c]) for r, c in block if (r, c) < (row, column)]
            # The view is rounded half up, so the sum lies in area · view − ⌊area / 2⌋ … + area − 1.
            total = area * int(means[0, 0, row // factor, 0]) - area // 2 + Fraction(area - 1, 2)
            expected = exact_center((total - sum(earlier)) / (area - len(earlier)), levels)
            assert int(found[0, 0, row, column]) == expected


def test_the_other_views_give_the_middle_of_what_they_leave_open():
    image = torch.tensor([[[[200, 10]], [[100, 0]], [[50, 255]]]])
    spec = ImageSpec(3, height=1, width=2)
    view = GrayscaleView(GrayscaleConfig(levels=16), spec)
    lowest, highest = view.support.ranges(view(image))
    for column in range(2):
        expected = exact_center(Fraction(int(lowest[0, column] + highest[0, column]), 2000), 256)
        assert centers_of(view, image, view(image))[0, :, 0, column].tolist() == [expected] * 3
    planes = BitplanesView(BitplanesConfig(drop=3), spec)
    middles = [[exact_center(Fraction(2 * (int(x) // 8 * 8) + 7, 2), 256) for x in row] for row in image[0, :, 0]]
    assert centers_of(planes, image, planes(image))[0, :, 0].tolist() == middles
    wide = SubsampleView(SubsampleConfig(2), ImageSpec(1, height=2, width=4))
    # The kept pixels are 200 and 100. The last row and column repeat them.
    between = wide.support.centers(torch.zeros(1, 1, 2, 4), torch.tensor([[[[200, 100]]]]))
    assert between.tolist() == [[[[exact_center(Fraction(x), 256) for x in (200, 150, 100, 100)]] * 2]]


def test_large_weights_and_levels_do_not_overflow():
    """The largest images that recipes allow, with a block of 2³² pixels and 2¹⁶ levels."""
    spec = ImageSpec(1, height=1, width=2, levels=2**16)
    groups = torch.tensor(0), torch.tensor([[[2**31, 2**31]]])
    support = SumSupport(spec, lambda: groups, lambda view: (view.flatten(1) * 2**32,) * 2)
    view = torch.tensor([[[[2**15]]]])
    found = support.centers(torch.tensor([[[[2**15 + 1, 0]]]]), view)
    assert found.flatten().tolist() == [exact_center(Fraction(2**15 + k), 2**16) for k in (0, -1)]


class Own(Support):
    """A support of any images, with a center that a method gives and no walk of its own."""

    def __init__(self, image, change=lambda centers, image: centers(image)):
        self.image, self.change = image, change

    def intervals(self, image, view):
        # The image has the view 0, and no other.
        highest = torch.where(view.long() == 0, self.image.levels - 1, -1).expand(image.shape)
        return Interval(torch.zeros_like(highest), highest)

    def centers(self, image, view):
        return self.change(self._from_the_left, image)

    def _from_the_left(self, image):
        left = torch.nn.functional.pad(image.long(), (1, 0))[..., :-1]
        return (2 * left - self.image.levels + 1) * ONE // (self.image.levels - 1)


ELSEWHERE = "centers: the center at .* must depend on earlier pixels alone"
WRONG = {
    "from the right": (lambda centers, image: centers(image.flip(3)).flip(3), ELSEWHERE),
    "too far": (lambda centers, image: 2 * centers(image), "centers: a center lies outside of"),
    "one for all": (lambda centers, image: centers(image[:1]).expand(len(image), -1, -1, -1), ELSEWHERE),
    "floats": (lambda centers, image: centers(image).float(), "centers: Support.centers must be torch.int64"),
}


class KnowingWalk(SumWalk):
    """A walk whose centers change if pixels are known."""

    def __init__(self, support, view, known):
        super().__init__(support, view, known)
        self.change = int(known is not None)

    def centers(self, places):
        return super().centers(places) ^ self.change


class Knowing(SumSupport):
    def walk(self, view, known=None):
        return KnowingWalk(self, view, known)


class Constant(View):
    """A view of one pixel that is always black, with a support to which every image belongs."""

    monotone = True

    def __init__(self, support):
        self.image, self.view, self.support = support.image, ImageSpec(1, height=1, width=1, levels=2), support

    def __call__(self, image):
        self.image.check(image)
        return torch.zeros_like(image[..., :1, :1])

    def known(self, known):
        return Known(self(known.filled()), known.mask.flatten(1).all(1)[:, None, None])


class OwnCenters(SumSupport):
    """A support of sums whose subclass gives other centers."""

    def centers(self, image, view):
        return super().centers(image, view) // 2


SPEC = ImageSpec(1, height=2, width=2, levels=4)
WIDE = ImageSpec(1, height=2, width=3, levels=3)


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_centers_are_found(change, message):
    with pytest.raises(ContractError, match=message):
        check_view(lambda config, image: Constant(Own(image, change)), None, images=[SPEC])


def test_centers_that_known_pixels_change_are_found():
    def build(config, image):
        view = pyramid(image)
        view.support = Knowing(image, view._blocks, view._sums)
        return view

    with pytest.raises(ContractError, match="centers of a walk with known pixels"):
        check_view(build, None, images=[SPEC])


def test_one_method_gives_a_strangers_support_centers():
    check_view(lambda config, image: Constant(Own(image)), None, images=[SPEC])


class Silent(Walk):
    reach = 0

    def interval(self, places, channel):
        raise AssertionError

    def take(self, places, channel, values):
        raise AssertionError


def test_a_walk_without_the_centers_of_its_support_is_refused():
    class Half(Own):
        def walk(self, view, known=None):
            return Silent()

    head = LogisticMixtureHead(SPEC, 2, centered=True)
    network = components.light(components.LightConfig(filters=2, blocks=1, head=logistic_mixture(2)), SPEC)
    request = SampleRequest((0,), given=GivenView(Half(SPEC), torch.zeros(1, 1, 1, 1)))
    assert head.centered
    with pytest.raises(UserError, match="Half gives centers, but its walk Silent does not; define its method"):
        DrawSource.of(network, request)


# Heads ----------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    seed=SEEDS,
    components=st.integers(1, 6),
    levels=st.sampled_from([2, 16, 256]),
    channels=st.sampled_from([1, 3]),
    neighbors=st.booleans(),
)
def test_integer_parameters_move_like_those_in_floating_point(seed, components, levels, channels, neighbors):
    image = ImageSpec(channels, height=1, width=1, levels=levels)
    head = LogisticMixtureHead(image, components, centered=True, neighbors=neighbors)
    integers = head.integer_head()
    whole = torch.randn(50, head.parameter_count, generator=generator(seed), dtype=torch.float64).mul(2**20).round()
    count = channels * (REFERENCES if neighbors else 1)
    centers = torch.randint(-ONE, ONE + 1, (50, count), generator=generator(seed + 1))
    moved = integers.around(whole, centers)
    assert moved.dtype == torch.float64
    assert torch.equal(moved, moved.round())
    expected = head.around(whole / 2**PARAMETER_BITS, centers) * 2**PARAMETER_BITS
    # A product is rounded down once, and tanh by less than two units.
    assert (moved - expected).abs().max() <= 6
    same = [integers.around(whole.to(dtype), centers).double() for dtype in (torch.int64, torch.int32)]
    assert all(torch.equal(each, moved) for each in same)


# Models ---------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS, levels=st.sampled_from([2, 256, 2**16]))
def test_without_a_view_a_value_is_expected_to_continue_a_plane(seed, levels):
    spec = ImageSpec(1, height=3, width=4, levels=levels)
    image = random_images(1, spec, seed)
    at = image[0, 0].tolist()
    found = neighbor_centers(image, levels)[0, 0]
    assert int(found[0, 0]) == 0
    for row in range(3):
        for column in range(4):
            if row and column:
                value = at[row][column - 1] + at[row - 1][column] - at[row - 1][column - 1]
            elif row or column:
                value = at[row - 1][column] if row else at[row][column - 1]
            if row or column:
                assert int(found[row, column]) == exact_center(Fraction(value), levels)


def test_drawing_has_the_centers_of_whole_images():
    """A subclass of `SumSupport` with other centers has no fast walk."""
    image = random_images(2, WIDE, 1)
    square = PyramidView(PyramidConfig(3), ImageSpec(1, height=3, width=3, levels=256))
    large = random_images(2, square.image, 2)
    for support, values, view in [
        (own_centers(WIDE), image, image[:, :, :1, :1]),
        (square.support, large, square(large)),
    ]:
        walk, expected = support.walk(view.long()), support.centers(values, view.long()).flatten(2)
        outside = expected.shape[2]
        for place in range(outside):
            found = walk.centers(torch.tensor([place, outside]))
            assert torch.equal(found[0], expected[:, :, place])
            walk.take(torch.tensor([place]), 0, values.flatten(2)[None, :, 0, place])


@pytest.mark.parametrize("given", [False, True], ids=["prior", "decoder"])
def test_drawing_has_the_values_of_neighbors_after_the_centers(given):
    spec = ImageSpec(3, height=3, width=4, levels=256)
    view = SubsampleView(SubsampleConfig(2), spec)
    image = random_images(2, spec, 1)
    centers = centers_of(view, image, view(image)) if given else neighbor_centers(image, 256)
    expected = with_neighbors(centers, image, 256)
    walk = NeighborWalk(spec, 2, torch.device("cpu"), view.support.walk(view(image)) if given else None, append=True)
    for row, column in np.ndindex(3, 4):
        place = torch.tensor([4 * row + column])
        assert torch.equal(walk.centers(place)[0], expected[..., row, column])
        around = [(row, column - 1), (row - 1, column), (row - 1, column - 1)]
        for number, (above, left) in enumerate(around, 1):
            values = image[:, :, above, left] if above >= 0 and left >= 0 else torch.zeros(2, 3)
            found = expected[:, 3 * number : 3 * number + 3, row, column]
            assert [[exact_center(Fraction(int(each)), 256) for each in own] for own in values] == found.tolist()
        for channel in range(3):
            walk.take(place, channel, image[None, :, channel, row, column])


def own_centers(image):
    each = torch.arange(image.dims).view(image.shape), torch.tensor(1)
    return OwnCenters(image, lambda: each, lambda view: (view.flatten(1).expand(-1, image.dims),) * 2)


SPACES = {
    "pyramid": (ImageSpec(1, height=2, width=4, levels=3), pyramid, [3, 6]),
    "grayscale": (ImageSpec(3, height=1, width=2, levels=4), grayscale(2), [1]),
}


def factor_of(space, *, restricted):
    spec, make, _ = SPACES[space]
    return randomized(chain_of(spec, make, restricted=restricted).factors[0], 4, 0.3)


def completions(nats, images, known, possible):
    """The log-probabilities with which images are completed: each sub-pixel is drawn given the earlier ones.

    `nats` are free log-probabilities of all images. A sub-pixel has the values with which some `possible` image begins;
    known sub-pixels, given by a mask, are not drawn.
    """
    rows = [tuple(row) for row in images.permute(0, 2, 3, 1).flatten(1).tolist()]
    fixed = known.permute(1, 2, 0).flatten().tolist()
    mass: dict[tuple[int, ...], float] = {}
    begins: set[tuple[int, ...]] = set()
    for row, own, allowed in zip(rows, nats.exp().tolist(), possible.tolist(), strict=True):
        for length in range(len(row) + 1):
            mass[row[:length]] = mass.get(row[:length], 0.0) + own
            begins |= {row[:length]} if allowed else set()
    found = []
    for row in rows:
        total = 0.0 if row in begins else -math.inf
        for place in range(len(row)):
            if total > -math.inf and not fixed[place]:
                start = row[:place]
                others = [(*start, value) for value in range(int(images.max()) + 1)]
                total += math.log(mass[row[: place + 1]] / sum(mass[each] for each in others if each in begins))
        found.append(total)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("engine", with_slow(["raster", *WORKING_ENGINES], "raster"))
@pytest.mark.parametrize("restricted", [False, True], ids=["free", "restricted"])
@pytest.mark.parametrize("space", SPACES)
def test_completed_images_follow_the_model(space, restricted, engine):
    """Known pixels narrow intervals of earlier pixels, but change no center: chi-square over all images."""
    factor = factor_of(space, restricted=restricted)
    assert factor.network.head.centered
    images = all_images(factor.image)
    mask = torch.zeros(factor.image.height * factor.image.width, dtype=torch.bool)
    mask[SPACES[space][2]] = True
    mask = mask.view(1, factor.image.height, factor.image.width)
    truth = images[len(images) // 3 : len(images) // 3 + 1]
    view = factor.view(truth)
    with torch.no_grad():
        features = factor.given(Values({"view1": view})).features.expand(len(images), -1, -1, -1)
        given_view = GivenView(factor.view.support, view.expand(len(images), -1, -1, -1))
        nats = factor.distribution.log_prob(images, features, given_view)
        assert nats.logsumexp(0).item() == pytest.approx(0, abs=1e-9)
        known = mask.expand(factor.image.shape)
        possible = ((images == truth) | ~known).flatten(1).all(1)
        if restricted:
            possible &= (factor.view(images) == view).flatten(1).all(1)
        count = 4000
        sampler = RasterSampler() if engine == "raster" else WavefrontSampler(engine)
        kept = Known(truth.expand(count, -1, -1, -1), mask.expand(count, -1, -1))
        request = SampleRequest(tuple(range(count)), 3, known=kept)
        drawn = factor.given(Values({"view1": view.expand(count, -1, -1, -1)})).draw(request, sampler)
    counts = torch.bincount(image_numbers(drawn, factor.image.levels), minlength=len(images))
    assert_follows(counts, completions(nats, images, known, possible))
