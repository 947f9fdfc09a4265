"""Tests that samplers keep known pixels, and draw the others from the model's distribution given earlier pixels."""

import attrs
import pytest
import torch
from helpers.causal_networks import (
    REQUESTS,
    SEEDS,
    all_images,
    assert_follows,
    full_networks,
    generator,
    growing_networks,
    image_numbers,
    knowns,
    light_networks,
    masks,
    other_networks,
    random_features,
    random_images,
    randomized,
    sample,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.model import CausalDistribution, Chain, Factor, ImageSpec, Interval, Known, SampleRequest, View
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers import AutoSampler, CachedSampler, RasterSampler, WavefrontSampler

ANY = [RasterSampler(), CachedSampler("torch"), CachedSampler(), AutoSampler()]
WAVEFRONTS = [WavefrontSampler("torch"), WavefrontSampler()]


@st.composite
def cases(draw):
    """Draws a sampler, a network that it supports, and a request."""
    if draw(st.booleans()):
        sampler, network = st.sampled_from([*ANY, *WAVEFRONTS]), st.one_of(light_networks(), other_networks())
    else:
        sampler, network = st.sampled_from(ANY), st.one_of(full_networks(), growing_networks())
    return draw(sampler), draw(network), draw(REQUESTS)


def spread(mask):
    """Adds a channel dimension to masks: (b, h, w) to (b, 1, h, w)."""
    return mask[:, None]


# Samplers ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(case=cases(), seed=SEEDS, data=st.data())
def test_known_pixels_are_held_fixed(case, seed, data):
    sampler, network, request = case
    known = data.draw(knowns(network.image, len(request.numbers)).filter(bool))
    before = known.values.clone(), known.mask.clone()
    found = sample(sampler, network, request, seed, known=known)
    network.image.check_range(found)
    assert torch.equal(found.where(spread(known.mask), 0), known.values.where(spread(known.mask), 0))
    if known.mask.all():
        assert torch.equal(found, known.values)
    assert torch.equal(known.values, before[0])
    assert torch.equal(known.mask, before[1])


@settings(deadline=None, max_examples=8)
@given(case=cases(), seed=SEEDS, data=st.data())
def test_pixels_before_the_first_known_one_are_as_without_it(case, seed, data):
    sampler, network, request = case
    known = data.draw(knowns(network.image, len(request.numbers)).filter(bool))
    before = (known.mask.flatten(1).cumsum(1) == 0).view(known.mask.shape)
    free = sample(sampler, network, request, seed)
    found = sample(sampler, network, request, seed, known=known)
    assert torch.equal(found.where(spread(before), 0), free.where(spread(before), 0))


@settings(deadline=None, max_examples=8)
@given(case=cases(), seed=SEEDS, data=st.data())
def test_an_image_completed_with_its_own_pixels_is_that_image(case, seed, data):
    sampler, network, request = case
    free = sample(sampler, network, request, seed)
    mask = data.draw(masks(network.image, len(request.numbers)))
    assert torch.equal(sample(sampler, network, request, seed, known=Known(free, mask)), free)


@settings(deadline=None, max_examples=8)
@given(case=cases(), seed=SEEDS, data=st.data())
def test_values_that_are_not_given_do_not_matter(case, seed, data):
    """Values at unknown pixels have no effect, even out of range. The integer dtype has no effect, either."""
    sampler, network, request = case
    count = len(request.numbers)
    mask = data.draw(masks(network.image, count))
    values = random_images(count, network.image, seed)
    expected = sample(sampler, network, request, seed, known=Known(values, mask))
    for other in (-5, 10**9):
        known = Known(values.where(spread(mask), other), mask)
        assert torch.equal(sample(sampler, network, request, seed, known=known), expected)
    short = Known(values.to(torch.int16), mask)
    assert torch.equal(sample(sampler, network, request, seed, known=short), expected)


@settings(deadline=None, max_examples=10)
@given(case=cases(), seed=SEEDS, data=st.data())
def test_a_completed_image_does_not_depend_on_those_beside_it(case, seed, data):
    sampler, network, request = case
    count = len(request.numbers)
    known = data.draw(knowns(network.image, count).filter(bool))
    features = random_features(network, count, seed)
    together = sample(sampler, network, request, features=features, known=known)
    one = data.draw(st.integers(0, count - 1))
    alone = sample(
        sampler,
        network,
        attrs.evolve(request, numbers=(request.numbers[one],)),
        features=None if features is None else features[[one]],
        known=Known(known.values[[one]], known.mask[[one]]),
    )
    assert torch.equal(alone, together[[one]])


# Distribution of completions -----------------------------------------------------------------------------------------

SPEC = ImageSpec(1, height=2, width=3, levels=2)
PLACES = {
    "the first": [0],
    "the first row": [0, 1, 2],
    "the last": [5],
    "two in the middle": [1, 4],
    "every other": [0, 2, 4],
}


def conditional(network, known):
    """Returns log p of drawing each image given the known pixels, and the model's log p of the image.

    Both are -inf for images that contradict the known pixels.
    """
    images = all_images(network.image)
    pixels = CausalDistribution(network).pixel_log_prob(images)
    found = pixels.where(~known.mask, 0).sum((1, 2))
    agrees = ((images == known.values) | ~spread(known.mask)).flatten(1).all(1)
    return found.where(agrees, -torch.inf), pixels.sum((1, 2)).where(agrees, -torch.inf)


@pytest.mark.parametrize("sampler", [RasterSampler(), WavefrontSampler(), CachedSampler()])
@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_completions_follow_the_model_given_what_is_known(sampler, places):
    config = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    network = randomized(components.light(config, SPEC), 7)
    mask = torch.zeros((1, 2, 3), dtype=torch.bool)
    mask.view(-1)[places] = True
    known = Known(random_images(1, SPEC, seed=1), mask)
    with torch.no_grad():
        log_probs, joint = conditional(network, known)
        if places == list(range(len(places))):
            # If the known pixels come first, this is the model's own conditional distribution.
            torch.testing.assert_close(log_probs, joint.log_softmax(0))
        torch.testing.assert_close(log_probs.logsumexp(0).exp().item(), 1.0)
        count = 4000
        many = Known(known.values.expand(count, -1, -1, -1), mask.expand(count, -1, -1))
        found = sample(sampler, network, SampleRequest(tuple(range(count)), known=many))
    assert_follows(torch.bincount(image_numbers(found, SPEC.levels), minlength=2**SPEC.dims), log_probs, count)


# Models --------------------------------------------------------------------------------------------------------------


class DarkestView(View):
    """A view with the default `known`, by which a partly known image determines no pixel of the view."""

    def __init__(self, image):
        self.image = image
        self.view = attrs.evolve(image, channels=1)

    def __call__(self, image):
        return image.amin(dim=1, keepdim=True)


@st.composite
def views(draw):
    size = {"height": 2 * draw(st.integers(1, 3)), "width": 2 * draw(st.integers(1, 3))}
    image = ImageSpec(3, **size, levels=draw(st.sampled_from([2, 16, 256])))
    return draw(
        st.sampled_from(
            [PyramidView(PyramidConfig(2), image), GrayscaleView(GrayscaleConfig(2), image), DarkestView(image)]
        )
    )


@settings(deadline=None, max_examples=60)
@given(view=views(), seed=SEEDS, data=st.data())
def test_what_is_known_of_a_view_follows_from_what_is_known_of_the_image(view, seed, data):
    """The known pixels of the view are the same for all values of the image's unknown pixels."""
    known = data.draw(knowns(view.image, 3).filter(bool))
    followed = view.known(known)
    followed.check(view.view, 3)
    for other in (seed, seed + 1):
        image = known.values.where(spread(known.mask), random_images(3, view.image, other))
        follows = spread(followed.mask)
        assert torch.equal(view(image).where(follows, 0), followed.values.where(follows, 0))
    # A fully known image makes its view fully known; a partly known one makes a part of the view known.
    whole = known.mask.flatten(1).all(1)
    assert followed.mask[whole].all()
    if isinstance(view, GrayscaleView):
        assert torch.equal(followed.mask, known.mask)
    if isinstance(view, PyramidView):
        known_of_squares = torch.nn.functional.avg_pool2d(known.mask.double(), 2)
        assert torch.equal(followed.mask, known_of_squares == 1)


@pytest.fixture(scope="module")
def chain():
    """A chain of 4×4 RGB images, their means over squares, and the gray values of these means."""
    means = PyramidView(PyramidConfig(2), ImageSpec(3, height=4, width=4, levels=8))
    grays = GrayscaleView(GrayscaleConfig(3), means.view)
    light = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    found = Chain([Factor(CausalDistribution(components.light(light, grays.view)))])
    for view in (grays, means):
        config = components.EmbeddingConfig(filters=2, blocks_per_group=1)
        embedding = components.embedding(config, view.view, view.image)
        decoder = CausalDistribution(components.light(light, view.image, embedding.features_channels))
        found = Chain([Factor(decoder, view=view, embedding=embedding), found])
    return randomized(found, 3)


@settings(deadline=None, max_examples=7)
@given(seed=SEEDS, first=st.integers(0, 5), data=st.data())
def test_a_model_holds_known_pixels_fixed_at_every_depth(chain, seed, first, data):
    known = data.draw(knowns(chain.image, 4).filter(bool))
    request = SampleRequest(tuple(range(first, first + 4)), seed, known=known)
    with torch.no_grad():
        views = chain.draw_views(request, AutoSampler())
    known_by_depth = [known]
    for stage in chain.factors[:-1]:
        known_by_depth.append(stage.view.known(known_by_depth[-1]))
    for view, given_pixels in zip(views, known_by_depth, strict=True):
        mask = spread(given_pixels.mask)
        assert torch.equal(view.where(mask, 0), given_pixels.values.where(mask, 0))


@settings(deadline=None, max_examples=5)
@given(seed=SEEDS)
def test_a_model_gives_back_an_image_that_is_known_as_a_whole(chain, seed):
    image = random_images(2, chain.image, seed)
    whole = torch.ones((2, 4, 4), dtype=torch.bool)
    request = SampleRequest((0, 1), seed)
    with torch.no_grad():
        found, nothing = (
            chain.draw(attrs.evolve(request, known=Known(image, mask)), AutoSampler()) for mask in (whole, ~whole)
        )
        assert torch.equal(found, image)
        assert torch.equal(nothing, chain.draw(request, AutoSampler()))


# Refused values and masks --------------------------------------------------------------------------------------------

IMAGE = ImageSpec(3, height=4, width=5, levels=8)
VALUES = torch.randint(8, (2, 3, 4, 5), generator=generator(0))
MASK = torch.rand((2, 4, 5), generator=generator(0)) < 0.5
RANGE = r"known values: expected integers in \[0, 8\), got"
SHAPE = r"known values: expected shape \(b, 3, 4, 5\), got"
BOOLEANS = r"known mask: expected booleans of shape \(2, 4, 5\), got torch"
WRONG = {
    "values of another type": (VALUES.double(), MASK, rf"{RANGE} a tensor of torch\.float64"),
    "values of another shape": (VALUES[:, :1], MASK, rf"{SHAPE} \(2, 1, 4, 5\)"),
    "values of one image": (VALUES[0], MASK, rf"{SHAPE} \(3, 4, 5\)"),
    "values of too few": (VALUES[:1], MASK, r"known values: expected 2 images \(one for each image to draw\), got 1"),
    "values too large": (VALUES + 8, MASK, rf"{RANGE} 0 … 15"),
    "values too small": (VALUES - 8, MASK, rf"{RANGE} -8 … 0"),
    "a mask of another type": (VALUES, MASK.int(), rf"{BOOLEANS}\.int32"),
    "a mask of another shape": (VALUES, MASK.mT, rf"{BOOLEANS}\.bool of shape \(2, 5, 4\)"),
    "a mask with channels": (VALUES, MASK[:, None], rf"{BOOLEANS}\.bool of shape \(2, 1, 4, 5\)"),
    "a mask of one image": (VALUES, MASK[0], rf"{BOOLEANS}\.bool of shape \(4, 5\)"),
    "masks of too few": (VALUES, MASK[:1], rf"{BOOLEANS}\.bool of shape \(1, 4, 5\)"),
}


@pytest.mark.parametrize(("values", "mask", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_known_is_refused(values, mask, message):
    known = Known(values, mask)
    with pytest.raises(UserError, match=message):
        known.check(IMAGE, 2)
    network = components.light(components.LightConfig(filters=2, blocks=1), IMAGE)
    model = Chain([Factor(CausalDistribution(network))])
    for sampler in [*ANY, *WAVEFRONTS]:
        with pytest.raises(UserError, match=message):
            sample(sampler, network, SampleRequest((0, 1), known=known))
        with pytest.raises(UserError, match=message):
            model.draw(SampleRequest((0, 1), known=known), sampler)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (VALUES - 8, VALUES, r"known limits \(lowest\): expected integers in \[0, 8\), got -8"),
        (VALUES, VALUES + 8, r"known limits \(highest\): expected integers in \[0, 8\), got 8 "),
        (VALUES, VALUES[:1], r"known limits \(highest\): expected shape \(2, 3, 4, 5\), got \(1, 3, 4, 5\)"),
        (VALUES * 0 + 5, VALUES * 0 + 4, r"the lowest value 5 is above the highest value 4 at index \(0, 0, 0, 0\)"),
    ],
)
def test_limits_that_no_value_has_are_refused(low, high, message):
    with pytest.raises(UserError, match=message):
        Known(VALUES, torch.zeros_like(MASK), Interval(low, high)).check(IMAGE, 2)


def test_limits_are_those_of_pixels_that_are_not_known():
    odd = torch.where(MASK[:, None], 9, VALUES)
    Known(VALUES, MASK, Interval(odd, VALUES)).check(IMAGE, 2)
    Known(VALUES, MASK, Interval(VALUES, odd)).check(IMAGE, 2)


def test_one_value_out_of_range_among_the_given_ones_is_enough():
    mask = torch.zeros((2, 4, 5), dtype=torch.bool)
    Known(VALUES + 8, mask).check(IMAGE, 2)
    mask[1, 2, 3] = True
    with pytest.raises(UserError, match="known values"):
        Known(VALUES + 8, mask).check(IMAGE, 2)
