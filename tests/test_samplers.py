"""Every sampler draws what the raster sampler draws, and that follows the model."""

import itertools
import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    SEEDS,
    SIZES,
    all_images,
    full_networks,
    heads,
    light_networks,
    random_features,
    randomized,
    specs,
)
from torch import nn
from torch.nn import functional

from auxar.causal import CausalPrior
from auxar.errors import UserError
from auxar.interfaces import CausalNetwork, DrawRule, Draws, ImageSpec
from auxar.model import AuxiliaryModel, image_levels
from auxar_pixelcnn import components
from auxar_pixelcnn.functional import concat_elu, gate
from auxar_pixelcnn.heads import LogisticMixtureHead, SoftmaxHead
from auxar_pixelcnn.layers import CausalConv2d, Conv2d, Dropout, Pointwise
from auxar_pixelcnn.samplers import AutoSampler, RasterSampler, WavefrontSampler
from auxar_pixelcnn.samplers.schedule import NoScheduleError, make_schedule
from auxar_pyramid import PyramidConfig, PyramidView

RULES = st.sampled_from(
    [DrawRule(), DrawRule("reduced", reduction=0.6), DrawRule("map"), DrawRule("ancestral", temperature=0.7)]
)
INDICES = st.lists(st.integers(0, 10**6), min_size=1, max_size=4).map(tuple)
DRAWS = st.builds(Draws, SEEDS, INDICES, RULES, st.integers(0, 3))


class OtherNetwork(CausalNetwork):
    """A stranger's network from the same layers: one stream, other tap shapes, work on the pixels before any shift."""

    def __init__(self, image, head, first, second, features_channels, width=4):
        super().__init__()
        self.image = image
        self.head = head
        self.features_channels = features_channels
        self.pixels = Pointwise([image.channels], width)
        self.above = CausalConv2d(width, width, *first)
        self.left = CausalConv2d(width, width, (0, 0), (-3, -1))
        self.hidden = CausalConv2d(width, 2 * width, *second)
        self.diagonal = CausalConv2d(width, width, (2, 2), (2, 2))
        self.dropout = Dropout(0.5)
        self.side = Pointwise([width, *([features_channels] if features_channels else [])], width, activation=True)
        self.out = Pointwise([2 * width], head.parameter_count)

    def forward(self, image, features=None):
        pixels = torch.tanh(self.pixels(image))
        start = functional.relu(self.left(pixels)) + 0.5 * self.above(pixels)
        hidden = gate(self.hidden(start)) - torch.sigmoid(self.diagonal(pixels))
        mixed = self.side(hidden) if features is None else self.side(hidden, features)
        return self.out(concat_elu(self.dropout(mixed) * start))


@st.composite
def other_networks(draw):
    image = draw(specs())
    columns = st.integers(-3, 3)
    left, right = sorted(draw(st.tuples(columns, columns)))
    first = draw(st.sampled_from([((1, 3), (-2, 2)), ((1, 1), (3, 3)), ((2, 3), (-1, 4)), ((1, 2), (left, right))]))
    second = draw(st.sampled_from([((0, 2), (-2, 0)), ((0, 0), (-4, 0)), ((1, 2), (0, 3)), ((0, 1), (-1, 0))]))
    network = OtherNetwork(image, draw(heads(image)), first, second, draw(st.sampled_from([0, 2])))
    return randomized(network, draw(SEEDS))


def sample(sampler, network, draws, seed=0, features=None):
    if features is None:
        features = random_features(network, len(draws.indices), seed)
    return sampler.sample(network, features, draws)


# The wavefront -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=120)
@given(network=light_networks(), draws=DRAWS, seed=SEEDS)
def test_the_wavefront_draws_what_the_raster_sampler_draws(network, draws, seed):
    found = sample(WavefrontSampler(), network, draws, seed)
    assert found.dtype == torch.int64
    assert found.shape == (len(draws.indices), *network.image.shape)
    network.image.check_range(found)
    assert torch.equal(found, sample(RasterSampler(), network, draws, seed))


@settings(deadline=None, max_examples=80)
@given(network=other_networks(), draws=DRAWS, seed=SEEDS)
def test_a_strangers_network_gets_the_wavefront_for_free(network, draws, seed):
    assert torch.equal(sample(WavefrontSampler(), network, draws, seed), sample(RasterSampler(), network, draws, seed))


def test_the_wavefront_works_on_many_rows_at_once():
    """Height · lag + width steps instead of height · width, for the lag that the taps call for."""
    image = ImageSpec(3, height=128, width=128)
    for blocks in range(1, 4):
        config = components.LightConfig(filters=2, blocks=blocks)
        schedule = make_schedule(components.light_prior(config, image).network)
        assert schedule.lag == 2 * blocks + 2
        assert max(schedule.leads.values()) == 2 * blocks


def test_the_wavefront_leaves_the_network_in_its_mode():
    image = ImageSpec(1, height=3, width=4, levels=5)
    network = components.light_prior(components.LightConfig(filters=2, blocks=1), image).network
    for training in (True, False):
        network.train(training)
        AutoSampler().sample(network, None, Draws(0, (0,)))
        assert all(module.training == training for module in network.modules())


@settings(deadline=None, max_examples=20)
@given(network=light_networks(blocks=(1, 2)), draws=DRAWS, seed=SEEDS)
def test_no_sampler_drops_values_of_a_network_in_training(network, draws, seed):
    expected = sample(RasterSampler(), network, draws, seed)
    network.train()
    assert torch.equal(sample(WavefrontSampler(), network, draws, seed), expected)
    assert torch.equal(sample(RasterSampler(), network, draws, seed), expected)


# What an image depends on --------------------------------------------------------------------------------------------

SAMPLERS = st.sampled_from([RasterSampler(), WavefrontSampler(), AutoSampler()])


@settings(deadline=None, max_examples=60)
@given(network=light_networks(), sampler=SAMPLERS, draws=DRAWS, seed=SEEDS, data=st.data())
def test_an_image_depends_on_its_seed_index_and_rule_alone(network, sampler, draws, seed, data):
    count = len(draws.indices)
    features = random_features(network, count, seed)
    together = sample(sampler, network, draws, features=features)
    assert torch.equal(together, sample(sampler, network, draws, features=features))
    order = data.draw(st.permutations(range(count)).map(lambda order: order[: data.draw(st.integers(1, count))]))
    some = Draws(draws.seed, tuple(draws.indices[k] for k in order), draws.rule, draws.level)
    alone = sample(sampler, network, some, features=None if features is None else features[order])
    assert torch.equal(alone, together[order])


@pytest.mark.parametrize("sampler", [RasterSampler(), WavefrontSampler()])
def test_seeds_indices_levels_and_features_make_different_images(sampler):
    image = ImageSpec(3, height=4, width=4)
    head = LogisticMixtureHead(image, 2)
    network = randomized(OtherNetwork(image, head, ((1, 2), (-1, 1)), ((0, 1), (-1, 0)), 2), 0)
    found = [
        sample(sampler, network, draws, seed)
        for draws, seed in [
            (Draws(0, (0,)), 0),
            (Draws(1, (0,)), 0),
            (Draws(0, (1,)), 0),
            (Draws(0, (0,), level=1), 0),
            (Draws(0, (0,)), 1),
            (Draws(0, (0,), DrawRule("map")), 0),
        ]
    ]
    for first, second in itertools.combinations(found, 2):
        assert not torch.equal(first, second)


# What the wavefront refuses ------------------------------------------------------------------------------------------


class Small(CausalNetwork):
    """A network on one channel that does whatever `run` does with its layers."""

    features_channels = 0

    def __init__(self, run, features_channels=0, **layers):
        super().__init__()
        self.image = ImageSpec(1, height=4, width=5, levels=3)
        self.head = SoftmaxHead(self.image)
        self.features_channels = features_channels
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.run = run
        randomized(self, 0)

    def forward(self, image, features=None):
        return self.run(self, image) if features is None else self.run(self, image, features)


def shifted():
    return CausalConv2d(1, 3, (0, 1), (-1, -1))


def dynamic(network, image):
    """Python looks at the values, which no trace can follow."""
    return network.conv(image) if image.sum() > 0 else network.conv(image) * 0.5


UNSCHEDULED = {
    "itself": (Small(lambda n, x: n.conv(x), conv=CausalConv2d(1, 3, (0, 1), (-1, 0))), "pixel itself"),
    "right": (Small(lambda n, x: n.conv(x), conv=CausalConv2d(1, 3, (0, 1), (-2, 1))), "pixel itself or on one to its"),
    "late": (
        Small(lambda n, x: n.second(n.conv(x)), conv=shifted(), second=CausalConv2d(3, 3, (0, 0), (0, 1))),
        "pixel itself",
    ),
    "both": (Small(lambda n, x: n.conv(x) + n.now(x), conv=shifted(), now=Pointwise([1], 3)), "pixel itself"),
    "ordinary": (Small(lambda n, x: n.conv(x), conv=Conv2d(1, 3)), r"conv \(Conv2d\)"),
    "stride": (
        Small(lambda n, x: n.conv(x), conv=CausalConv2d(1, 3, (1, 1), (0, 0), stride=2)),
        r"conv \(CausalConv2d\)",
    ),
    "function": (Small(lambda n, x: torch.cumsum(n.conv(x), 1), conv=shifted()), "cumsum"),
    "method": (Small(lambda n, x: n.conv(x).abs(), conv=shifted()), "call_method abs"),
    "module": (Small(lambda n, x: n.relu(n.conv(x)), conv=shifted(), relu=nn.ReLU()), r"relu \(ReLU\)"),
    "dynamic": (Small(dynamic, conv=shifted()), "cannot be traced"),
    "blind": (
        Small(lambda n, x, f: n.side(f), features_channels=2, side=Pointwise([2], 3)),
        "does not depend on the image",
    ),
}


@pytest.mark.parametrize(("network", "message"), UNSCHEDULED.values(), ids=UNSCHEDULED)
def test_a_network_that_cannot_run_as_a_wavefront_is_refused_by_name(network, message):
    with pytest.raises(NoScheduleError, match=message):
        make_schedule(network)
    with pytest.raises(UserError, match=f"(?s)wavefront.*{message}.*'raster' works"):
        sample(WavefrontSampler(), network, Draws(0, (0,)))


@settings(deadline=None, max_examples=8)
@given(network=full_networks(specs(sizes=st.sampled_from([(1, 1), (2, 3), (3, 1)]))), draws=DRAWS, seed=SEEDS)
def test_the_full_network_falls_back_to_the_raster_sampler(network, draws, seed):
    with pytest.raises(NoScheduleError, match="shrink"):
        make_schedule(network)
    assert torch.equal(sample(AutoSampler(), network, draws, seed), sample(RasterSampler(), network, draws, seed))


def test_falling_back_is_logged(caplog):
    network, _ = UNSCHEDULED["method"]
    with caplog.at_level(logging.INFO, logger="auxar"):
        found = sample(AutoSampler(), network, Draws(3, (1, 2)))
    assert torch.equal(found, sample(RasterSampler(), network, Draws(3, (1, 2))))
    (record,) = caplog.records
    assert "raster sampler" in record.getMessage()
    assert "call_method abs" in record.getMessage()


def test_the_wavefront_is_chosen_silently(caplog):
    image = ImageSpec(1, height=3, width=4, levels=5)
    network = components.light_prior(components.LightConfig(filters=2, blocks=1), image).network
    with caplog.at_level(logging.INFO, logger="auxar"):
        AutoSampler().sample(network, None, Draws(0, (0,)))
    assert not caplog.records


def scaled(network, image):
    return network.conv(image) * network.scale


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (3, 1, 1), (), (1, 3, 4, 5)])
def test_a_network_with_parameters_of_its_own_samples_as_by_raster(shape):
    """By wavefront or, where that is refused, by the raster sampler: never otherwise than by raster."""
    network = Small(scaled, conv=shifted(), scale=nn.Parameter(torch.ones(shape)))
    draws = Draws(0, tuple(range(20)))
    assert torch.equal(sample(AutoSampler(), network, draws), sample(RasterSampler(), network, draws))


@pytest.mark.parametrize("pool", [lambda f: f, lambda f: f.mean((2, 3), keepdim=True), lambda f: f[:, :1]])
def test_a_network_that_adds_what_it_makes_of_features_samples_as_by_raster(pool):
    network = Small(lambda n, x, f: n.conv(x) + pool(f), features_channels=3, conv=shifted())
    draws = Draws(0, tuple(range(20)))
    assert torch.equal(sample(AutoSampler(), network, draws), sample(RasterSampler(), network, draws))


# What is drawn follows the model -------------------------------------------------------------------------------------


def chi_square(counts, log_probs, total):
    """The statistic and its degrees of freedom, over cells that expect enough to be near a normal distribution."""
    expected = log_probs.exp().flatten() * total
    rare = expected < 8
    counts = torch.cat([counts.flatten()[~rare], counts.flatten()[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]]).clamp_min(1)
    return ((counts - expected) ** 2 / expected).sum().item(), int((~rare).sum())


def assert_follows(counts, log_probs, total=4000):
    statistic, freedom = chi_square(counts, log_probs, total)
    assert freedom >= 5
    # Wilson & Hilferty's approximation of the quantile of which one in 100,000 correct samplers falls short.
    assert statistic < freedom * (1 - 2 / (9 * freedom) + 4.265 * (2 / (9 * freedom)) ** 0.5) ** 3


@pytest.mark.parametrize("sampler", [RasterSampler(), WavefrontSampler()])
@pytest.mark.parametrize("head", components.HEADS)
@pytest.mark.parametrize("spec", [ImageSpec(1, height=2, width=2, levels=3), ImageSpec(3, height=1, width=2, levels=2)])
def test_ancestral_samples_follow_the_model(sampler, head, spec):
    config = components.LightConfig(filters=3, blocks=1, head=head, components=2)
    prior = randomized(components.light_prior(config, spec), 5)
    images = all_images(spec)
    with torch.no_grad():
        log_probs = prior.log_prob(images)
        found = prior.draw(Draws(0, tuple(range(4000))), sampler)
    digits = spec.levels ** torch.arange(spec.dims - 1, -1, -1)
    assert_follows(torch.bincount((found.flatten(1) * digits).sum(1), minlength=len(images)), log_probs)


def test_ancestral_samples_of_an_image_and_its_view_follow_the_joint_model():
    """Also where the drawn view isn't the view of the drawn image, which the model does not exclude."""
    image = ImageSpec(1, height=2, width=2, levels=2)
    view = PyramidView(PyramidConfig(2), image)
    light = components.LightConfig(filters=3, blocks=1, components=2)
    embedding = components.embedding(components.EmbeddingConfig(filters=2, blocks_per_group=1), view.view, image)
    decoder = components.light_decoder(light, image, 2)
    model = randomized(AuxiliaryModel(view, embedding, decoder, components.light_prior(light, view.view)), 11)
    images, views = all_images(image), all_images(view.view)
    with torch.no_grad():
        # Of a view of one pixel little is left after so many 3×3 layers; here it is to matter.
        model.embedding.out.gain *= 3000
        fine, coarse = model.draw_levels(Draws(0, tuple(range(4000))), WavefrontSampler())
        conditional = torch.stack(
            [model.decoder.log_prob(images, each.expand(16, -1, -1, -1)) for each in model.embedding(views)], dim=1
        )
        joint = conditional + model.prior.log_prob(views)
    assert (conditional[:, 0].exp() - conditional[:, 1].exp()).abs().sum() > 0.2
    cell = (fine.flatten(1) * torch.tensor([8, 4, 2, 1])).sum(1) * 2 + coarse.flatten()
    assert_follows(torch.bincount(cell, minlength=32), joint)
    assert not torch.equal(image_levels(model, fine)[1], coarse)


@settings(deadline=None, max_examples=20)
@given(size=SIZES, seed=SEEDS)
def test_a_prior_draws_by_its_sampler(size, seed):
    image = ImageSpec(1, height=size[0], width=size[1], levels=4)
    prior = randomized(
        CausalPrior(components.light_prior(components.LightConfig(filters=2, blocks=1), image).network), seed
    )
    prior.sampler = AutoSampler()
    expected = RasterSampler().sample(prior.network, None, Draws(seed, (0, 1, 2)))
    assert torch.equal(prior.sample(3, seed=seed, batch_size=2), expected)
