"""Tests that a restricted decoder puts all its probability on images with the given view: log p(X, ψ(X)) = log p(X)."""

import attrs
import pytest
import torch
from helpers.bounds import joint_table
from helpers.causal_networks import HEADS, SEEDS, WORKING_ENGINES, generator, image_numbers, random_images
from helpers.chains import grayscale
from helpers.marks import with_slow
from helpers.values import values_of, views_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auxar.model import (
    Ancestral,
    CausalDistribution,
    Chain,
    Embedding,
    Factor,
    GivenView,
    ImageSpec,
    Known,
    RepeatedWalk,
    SampleRequest,
    Support,
    scale,
)
from auxar.numerics import logistic
from auxar.testing.examples import all_images, randomized
from auxar_bitplanes import BitplanesConfig, BitplanesView
from auxar_heads import softmax
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_rules import Map, Reduced
from auxar_samplers import AutoSampler, RasterSampler, WavefrontSampler
from auxar_subsample import SubsampleConfig, SubsampleView

# Scales of all weights, from nearly zero to sizes at which intervals often have almost no probability.
SCALES = st.sampled_from([0.1, 1.0, 5.0, 30.0])


def pyramid(factor=2):
    return lambda image: PyramidView(PyramidConfig(factor), image)


def bitplanes(drop):
    return lambda image: BitplanesView(BitplanesConfig(drop), image)


def subsample(factor=2):
    return lambda image: SubsampleView(SubsampleConfig(factor), image)


class Shown(Embedding):
    """An embedding that repeats each value of the view over its part of the image, times a trainable number."""

    def __init__(self, view, image):
        super().__init__()
        self.view = view
        self.image = image
        self.features_channels = view.channels
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, view):
        height, width = self.image.shape[1:]
        rows, columns = (-(-height // self.view.height), -(-width // self.view.width))
        spread = view.repeat_interleave(rows, 2).repeat_interleave(columns, 3)[:, :, :height, :width]
        return scale(spread, self.view.levels, self.gain.dtype) * self.gain


def build_decoder(image, channels, head, full=False):
    if full:
        config = components.FullConfig(filters=2, nr_resnet=1, head=HEADS[head])
        return CausalDistribution(components.full(config, image, channels))
    return CausalDistribution(
        components.light(components.LightConfig(filters=3, blocks=1, head=HEADS[head]), image, channels)
    )


def build(image, views, head="softmax", full=False, restricted=True):
    """Returns a model with a chain of views, from the image's view to the coarsest."""
    if not views:
        light = components.LightConfig(filters=2, blocks=1, head=softmax())
        return Chain([Factor(CausalDistribution(components.light(light, image)))])
    view = views[0](image)
    decoder = build_decoder(image, view.view.channels, head, full)
    prior = build(view.view, views[1:], head, full, restricted)
    return Chain([Factor(decoder, view=view, embedding=Shown(view.view, image), restricted=restricted), prior])


# Likelihoods ----------------------------------------------------------------------------------------------------------

# All images and views together are few enough to enumerate.
SPACES = {
    "pyramid": (ImageSpec(1, height=2, width=2, levels=4), [pyramid()]),
    "pyramid, two squares": (ImageSpec(1, height=2, width=4, levels=2), [pyramid()]),
    "grayscale": (ImageSpec(3, height=1, width=2, levels=2), [grayscale(2)]),
    "grayscale, 3 of 5 levels": (ImageSpec(3, height=1, width=1, levels=5), [grayscale(3)]),
    "bitplanes": (ImageSpec(3, height=1, width=1, levels=4), [bitplanes(1)]),
    "bitplanes, 2 of 3 bits": (ImageSpec(1, height=1, width=2, levels=8), [bitplanes(2)]),
    "subsample": (ImageSpec(1, height=2, width=3, levels=2), [subsample()]),
    "bitplanes, pyramid": (ImageSpec(1, height=2, width=2, levels=4), [bitplanes(1), pyramid()]),
    "grayscale, subsample": (ImageSpec(3, height=1, width=2, levels=2), [grayscale(2), subsample()]),
}


@pytest.mark.parametrize("space", with_slow(SPACES, "bitplanes, pyramid"))
@pytest.mark.parametrize("head", HEADS)
@settings(deadline=None, max_examples=3, derandomize=True)
@given(full=st.booleans(), seed=SEEDS, size=SCALES)
def test_an_image_with_its_view_is_as_likely_as_the_image(space, head, full, seed, size):
    # In deep networks, the largest weights give means of about 10¹⁸, for which rounding hides a step of one value.
    image, views = SPACES[space]
    model = randomized(build(image, views, head, full), seed, min(size, 5.0) if full else size)
    images = all_images(model.image)
    with torch.no_grad():
        joint = joint_table(model)
        found = model.log_prob(images)
        # The tolerance grows with the free decoder's largest |log p| and with its largest parameter, which limit the
        # absolute accuracy.
        stage = model.factors[0]
        views = stage.view(images)
        inputs = images, stage.embedding(views), GivenView(stage.view.support, views)
        free, parameters = (ask(*inputs) for ask in (stage.distribution.log_prob, stage.distribution.parameters_of))
    digits = 1e-9 + 1e-14 * free.abs().max().item() + 1e-16 * parameters.abs().max().item()
    assert not joint.isnan().any()
    exact = joint.flatten(1).logsumexp(1)
    assert exact.isfinite().all()
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=digits)
    assert found.logsumexp(0).item() == pytest.approx(0, abs=digits)
    # Each image has positive probability with exactly one combination of views.
    assert (joint.flatten(1).isfinite().sum(1) == 1).all()
    places = [image_numbers(view, spec.levels) for view, spec in zip(views_of(model, images), model.specs, strict=True)]
    assert joint[tuple(places)].isfinite().all()
    assert model.exact


# Heads ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [3, 256, 65536])
@pytest.mark.parametrize("means", [0.5, 30.0])
@pytest.mark.parametrize("log_scale", [-7.0, -1.5, 0.0, 20.0])
def test_a_draw_changes_from_a_value_to_the_next_where_the_mass_does(levels, means, log_scale):
    noise = generator(0)
    count = 1000
    mean = torch.randn(count, generator=noise, dtype=torch.float64) * means
    width = torch.full_like(mean, log_scale)
    low, value, high = torch.randint(levels, (3, count), generator=noise).sort(0).values
    low, mean, width, value, high = (values[value < high] for values in (low, mean, width, value, high))
    below, above = (
        logistic.log_interval_mass(*ends, mean, width, levels) for ends in ((low, value), (value + 1, high))
    )
    # The uniforms are shifted in log-odds, since probabilities may be too close to 0 or 1 for absolute shifts.
    near = torch.sigmoid(below - above + torch.tensor([[-1e-6], [1e-6]]))
    assert (usable := (near > 1e-300) & (near < 1 - 1e-8)).sum() > 10
    first, last = (logistic.draw_between(uniform, mean, width, low, high, levels) for uniform in near)
    assert (first <= value)[usable[0]].all()
    assert (last > value)[usable[1]].all()


@pytest.mark.parametrize("far", [-1e6, -1e3, -30.0, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("log_scale", [-7.0, 0.0, 3.0])
def test_a_draw_far_from_the_mean_stays_inside_and_moves_with_its_noise(far, log_scale):
    uniform = torch.linspace(1e-12, 1 - 1e-12, 1001, dtype=torch.float64)
    low, high = torch.tensor(10), torch.tensor(60)
    found = logistic.draw_between(uniform, torch.tensor(far).double(), torch.tensor(log_scale).double(), low, high, 256)
    assert found.isfinite().all()
    assert ((found >= 10) & (found <= 60)).all()
    assert (found.diff() >= 0).all()


# Draws ----------------------------------------------------------------------------------------------------------------


@st.composite
def cases(draw):
    """Draws an image spec and a view. Large pyramid factors need a larger lag between rows than the network alone."""
    kind = draw(st.sampled_from(["pyramid", "grayscale", "bitplanes", "subsample"]))
    rows, columns = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    if kind == "pyramid":
        factor = draw(st.sampled_from([2, 3, 4, 6]))
        rows, columns = (1, 2) if factor > 3 else (rows, columns)
        size, view = (rows * factor, columns * factor), pyramid(factor)
    else:
        size = (rows + draw(st.integers(0, 3)), columns + draw(st.integers(0, 4)))
        view = {"grayscale": grayscale(7), "bitplanes": bitplanes(3), "subsample": subsample(3)}[kind]
    channels = 3 if kind == "grayscale" else draw(st.sampled_from([1, 3]))
    image = ImageSpec(channels, height=size[0], width=size[1], levels=draw(st.sampled_from([16, 256])))
    return image, view


# The network alone needs a lag of 4 columns between rows, but squares of 6×6 pixels need a larger one.
FURTHEST = (ImageSpec(3, height=6, width=12), pyramid(6))


# Chains of views. Known pixels of the image may determine a part of each view.
CHAINS = {
    **SPACES,
    "two pyramids, grayscale": (ImageSpec(3, height=8, width=8), [pyramid(), pyramid(), grayscale(5)]),
    "grayscale, pyramid": (ImageSpec(3, height=6, width=3, levels=16), [grayscale(4), pyramid(3)]),
    "bitplanes, subsample": (ImageSpec(3, height=3, width=5), [bitplanes(4), subsample()]),
}


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    chain=st.sampled_from(list(CHAINS)),
    head=st.sampled_from(list(HEADS)),
    seed=SEEDS,
    known=st.sampled_from(["nothing", "rows", "any pixels"]),
    free=st.sampled_from([None, 0, 1]),
    rule=st.sampled_from([Ancestral(), Reduced(0.6), Map()]),
    size=st.sampled_from([1.0, 4.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@example("two pyramids, grayscale", "logistic_mixture", 0, "rows", None, Ancestral(), 1.0, torch.float64)
@example("two pyramids, grayscale", "softmax", 1, "any pixels", None, Map(), 4.0, torch.float32)
@example("bitplanes, subsample", "logistic_mixture", 1, "nothing", None, Reduced(0.6), 4.0, torch.float32)
def test_drawn_views_are_views_of_each_other(chain, head, seed, known, free, rule, size, dtype):
    """Restricted decoders of a chain draw images with the given views, also if a part of the image is known, and with
    weights that give many intervals almost no probability."""
    model = randomized(build(*CHAINS[chain], head), seed, size).to(dtype)
    if free is not None:
        model.factors[:-1][min(free, len(model.factors[:-1]) - 1)].restricted = False
    shown = random_images(5, model.image, seed)
    height, width = model.image.shape[1:]
    masks = {
        "rows": (torch.arange(height) < torch.randint(height + 1, (5, 1), generator=generator(seed)))[..., None],
        "any pixels": torch.rand(5, height, width, generator=generator(seed)) < 0.5,
    }
    part = None if known == "nothing" else Known(shown, masks[known].expand(5, height, width))
    with torch.no_grad():
        views = model.by_depth(model.draw(SampleRequest(tuple(range(5)), seed, rule, known=part), AutoSampler()))
        if part is not None:
            assert torch.equal(views[0].where(part.mask[:, None], 0), part.filled())
        for depth, stage in enumerate(model.factors[:-1]):
            stage.image.check_range(views[depth])
            if stage.restricted:
                assert torch.equal(stage.view(views[depth]), views[depth + 1])
        if free is None:
            assert model.log_prob(views[0]).isfinite().all()


class Unaided(Support):
    """A support that does not override `walk`."""

    def __init__(self, support):
        self.image = support.image
        self.support = support

    def intervals(self, image, view):
        return self.support.intervals(image, view)

    def centers(self, image, view):
        return self.support.centers(image, view)


@settings(deadline=None, max_examples=6, derandomize=True)
@given(case=cases(), head=st.sampled_from(list(HEADS)), seed=SEEDS)
@example(FURTHEST, "logistic_mixture", 0)
@example(FURTHEST, "softmax", 1)
def test_a_support_that_has_no_walk_of_its_own_draws_the_same(case, head, seed):
    image, view = case
    [stage, _] = randomized(build(image, [view], head), seed, 0.7).factors
    given = stage.view(random_images(2, image, seed))
    features, request = stage.embedding(given), SampleRequest((0, 1), seed)
    expected = stage.given(values_of(stage, None, given)).draw(request, WavefrontSampler("torch"))
    unaided = GivenView(Unaided(stage.view.support), given, True)
    assert isinstance(unaided.walk(), RepeatedWalk)
    for sampler in (RasterSampler(), *map(WavefrontSampler, WORKING_ENGINES)):
        restricted = attrs.evolve(request, given=unaided)
        assert torch.equal(stage.distribution.draw(restricted, sampler, features), expected)
