"""Tests that all samplers draw the same images as the raster sampler, and that these follow the model."""

import itertools
import logging

import pytest
import torch
from helpers.causal_networks import (
    HEADS,
    REQUESTS,
    SEEDS,
    SIZES,
    WORKING_ENGINES,
    OtherNetwork,
    all_images,
    assert_follows,
    full_networks,
    growing_networks,
    image_numbers,
    knowns,
    light_networks,
    other_networks,
    random_features,
    randomized,
    sample,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import auxar
from auxar.errors import UserError
from auxar.model import CausalDistribution, CausalNetwork, Chain, Factor, ImageSpec, SampleRequest
from auxar.plugins import load_plugins
from auxar.recipe.choices import structure_options
from auxar_heads import logistic_mixture
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_layers.convolutions import CausalConv2d, Conv2d, Pointwise, UpsamplingConv2d
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_rules import Map
from auxar_samplers import (
    AutoConfig,
    AutoSampler,
    CachedConfig,
    CachedSampler,
    RasterSampler,
    WavefrontConfig,
    WavefrontSampler,
)
from auxar_samplers.compiler.plan import make_plan
from auxar_samplers.compiler.program import Layout
from auxar_samplers.compiler.schedule import make_schedule
from auxar_samplers.compiler.trace import NoScheduleError


def assert_draws_as_by_raster(kind, network, request, seed, known):
    """Asserts that a kind of sampler draws the raster sampler's images with every engine."""
    expected = sample(RasterSampler(), network, request, seed, known=known)
    for engine in WORKING_ENGINES:
        found = sample(kind(engine), network, request, seed, known=known)
        assert found.dtype == torch.int64
        assert found.shape == (len(request.numbers), *network.image.shape)
        network.image.check_range(found)
        assert torch.equal(found, expected), engine


# The wavefront -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10)
@given(network=light_networks(), request=REQUESTS, seed=SEEDS, data=st.data())
def test_the_wavefront_draws_what_the_raster_sampler_draws(network, request, seed, data):
    known = data.draw(knowns(network.image, len(request.numbers)))
    assert_draws_as_by_raster(WavefrontSampler, network, request, seed, known)


@settings(deadline=None, max_examples=8)
@given(network=other_networks(), request=REQUESTS, seed=SEEDS, data=st.data())
def test_a_strangers_network_gets_the_wavefront_for_free(network, request, seed, data):
    known = data.draw(knowns(network.image, len(request.numbers)))
    assert_draws_as_by_raster(WavefrontSampler, network, request, seed, known)


@pytest.mark.parametrize("size", [(60, 1), (40, 4), (35, 6)])
def test_the_wavefront_of_a_high_image_goes_round_slots_and_tables_many_times(size):
    """Images have more rows than Hypothesis makes, so that storage of earlier rows is used again many times."""
    image = ImageSpec(1, height=size[0], width=size[1], levels=16)
    head = SoftmaxHead(image)
    config = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    for network in (
        components.light(config, image, 2),
        OtherNetwork(image, head, ((1, 3), (-2, 2)), {"above": (0, 2), "columns": (-2, 0)}, 2),
    ):
        assert_draws_as_by_raster(WavefrontSampler, randomized(network, 1), SampleRequest((0, 1), 3), 4, None)


def test_the_wavefront_works_on_many_rows_at_once():
    """The wavefront takes about height · lag + width steps instead of height · width; the taps determine the lag."""
    image = ImageSpec(3, height=128, width=128)
    for blocks in range(1, 4):
        config = components.LightConfig(filters=2, blocks=blocks)
        schedule = make_schedule(components.light(config, image))
        assert schedule.lag == 2 * blocks + 2
        assert max(schedule.leads.values()) == 2 * blocks


def stored_bytes(monkeypatch, sampler, image):
    """Returns the bytes that a sampler keeps between its steps, for a network with features."""
    network = randomized(
        OtherNetwork(image, SoftmaxHead(image), ((1, 3), (-2, 2)), {"above": (0, 2), "columns": (-2, 0)}, 2), 0
    )
    sizes = []

    def counted(make):
        def counting(*arguments, **options):
            storage = make(*arguments, **options)
            sizes.append(storage.values.nbytes)
            return storage

        return counting

    with monkeypatch.context() as patch:
        for kind in ("ring", "scratch", "table"):
            patch.setattr(Layout, kind, counted(getattr(Layout, kind)))
        sample(sampler, network, SampleRequest((0, 1)))
    return sum(sizes)


@pytest.mark.parametrize("sampler", [WavefrontSampler(), CachedSampler()])
def test_what_a_sampler_keeps_does_not_grow_with_the_height(monkeypatch, sampler):
    found = [
        stored_bytes(monkeypatch, sampler, ImageSpec(1, height=height, width=8, levels=2)) for height in (32, 64, 128)
    ]
    assert found[0] == found[1] == found[2]
    assert 0 < found[0] < stored_bytes(monkeypatch, sampler, ImageSpec(1, height=32, width=80, levels=2))


FAST = [WavefrontSampler("torch"), WavefrontSampler(), CachedSampler("torch"), CachedSampler(), AutoSampler()]


@pytest.mark.parametrize("sampler", [RasterSampler(), *FAST])
def test_a_sampler_leaves_the_network_in_its_mode(sampler):
    image = ImageSpec(1, height=3, width=4, levels=5)
    network = components.light(components.LightConfig(filters=2, blocks=1), image)
    for training in (True, False):
        network.train(training)
        sample(sampler, network, SampleRequest((0,)))
        assert all(module.training == training for module in network.modules())


@pytest.mark.parametrize("sampler", [RasterSampler(), *FAST])
def test_a_sampler_draws_whatever_the_default_device_is(sampler):
    image = ImageSpec(1, height=3, width=4, levels=5)
    network = components.light(components.LightConfig(filters=2, blocks=1), image)
    expected = sample(sampler, network, SampleRequest((0, 1)))
    with torch.device("meta"):
        assert torch.equal(sample(sampler, network, SampleRequest((0, 1))), expected)


@settings(deadline=None, max_examples=8)
@given(network=light_networks(blocks=(1, 2)), request=REQUESTS, seed=SEEDS)
def test_no_sampler_drops_values_of_a_network_in_training(network, request, seed):
    expected = sample(RasterSampler(), network, request, seed)
    network.train()
    for sampler in [RasterSampler(), *FAST]:
        assert torch.equal(sample(sampler, network, request, seed), expected)


# The cached sampler --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=7)
@given(network=full_networks(), request=REQUESTS, seed=SEEDS, data=st.data())
def test_the_cached_sampler_draws_what_the_raster_sampler_draws(network, request, seed, data):
    known = data.draw(knowns(network.image, len(request.numbers)))
    assert_draws_as_by_raster(CachedSampler, network, request, seed, known)


@settings(deadline=None, max_examples=8)
@given(network=growing_networks(), request=REQUESTS, seed=SEEDS, data=st.data())
def test_a_strangers_network_of_several_resolutions_is_cached_for_free(network, request, seed, data):
    known = data.draw(knowns(network.image, len(request.numbers)))
    assert_draws_as_by_raster(CachedSampler, network, request, seed, known)


@settings(deadline=None, max_examples=8)
@given(network=st.one_of(light_networks(), other_networks()), request=REQUESTS, seed=SEEDS, data=st.data())
def test_the_cached_sampler_takes_networks_of_one_resolution_too(network, request, seed, data):
    known = data.draw(knowns(network.image, len(request.numbers)))
    assert_draws_as_by_raster(CachedSampler, network, request, seed, known)


def test_a_full_network_is_cached_where_every_resolution_has_an_inside():
    """The image is so large that every resolution has places away from the edges."""
    image = ImageSpec(3, height=10, width=15, levels=16)
    config = components.FullConfig(filters=3, nr_resnet=1, head=logistic_mixture(2))
    network = randomized(components.full(config, image, 2), 1)
    assert_draws_as_by_raster(CachedSampler, network, SampleRequest((0, 1), 3), 4, None)


# Dependence on seed, index and rule ----------------------------------------------------------------------------------

SAMPLERS = st.sampled_from([RasterSampler(), *FAST])


@settings(deadline=None, max_examples=10)
@given(network=light_networks(), sampler=SAMPLERS, request=REQUESTS, seed=SEEDS, data=st.data())
def test_an_image_depends_on_its_seed_index_and_rule_alone(network, sampler, request, seed, data):
    count = len(request.numbers)
    features = random_features(network, count, seed)
    together = sample(sampler, network, request, features=features)
    assert torch.equal(together, sample(sampler, network, request, features=features))
    order = data.draw(st.permutations(range(count)).map(lambda order: order[: data.draw(st.integers(1, count))]))
    some = SampleRequest(tuple(request.numbers[k] for k in order), request.seed, request.rule, request.depth)
    alone = sample(sampler, network, some, features=None if features is None else features[order])
    assert torch.equal(alone, together[order])


@pytest.mark.parametrize("sampler", [RasterSampler(), WavefrontSampler(), CachedSampler()])
def test_seeds_indices_depths_and_features_make_different_images(sampler):
    image = ImageSpec(3, height=4, width=4)
    head = LogisticMixtureHead(image, 2)
    network = randomized(OtherNetwork(image, head, ((1, 2), (-1, 1)), {"above": (0, 1), "columns": (-1, 0)}, 2), 0)
    found = [
        sample(sampler, network, request, seed)
        for request, seed in [
            (SampleRequest((0,)), 0),
            (SampleRequest((0,), 1), 0),
            (SampleRequest((1,)), 0),
            (SampleRequest((0,), 0, depth=1), 0),
            (SampleRequest((0,)), 1),
            (SampleRequest((0,), 0, Map()), 0),
        ]
    ]
    for first, second in itertools.combinations(found, 2):
        assert not torch.equal(first, second)


# Refused networks ----------------------------------------------------------------------------------------------------


class Small(CausalNetwork):
    """A network for one channel whose forward pass is the function `run`."""

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
    """A forward pass that branches on the values of the image, which tracing cannot record."""
    return network.conv(image) if image.sum() > 0 else network.conv(image) * 0.5


def shrunk(inputs=1, stride=2):
    return CausalConv2d(inputs, 3, (1, 1), (0, 0), stride=stride)


UNTRACED = {
    "ordinary": (Small(lambda n, x: n.conv(x), conv=Conv2d(1, 3)), r"conv \(Conv2d\) is not supported"),
    "function": (Small(lambda n, x: torch.cumsum(n.conv(x), 1), conv=shifted()), "cumsum"),
    "method": (Small(lambda n, x: n.conv(x).abs(), conv=shifted()), "call_method abs"),
    "module": (Small(lambda n, x: n.relu(n.conv(x)), conv=shifted(), relu=nn.ReLU()), r"relu \(ReLU\)"),
    "name": (
        Small(lambda n, x: functional.elu(n.conv(x), alpha=0.5), conv=shifted()),
        "keyword arguments; pass them by position",
    ),
    "dynamic": (Small(dynamic, conv=shifted()), "cannot be traced"),
    "blind": (
        Small(lambda n, x, f: n.side(f), features_channels=2, side=Pointwise([2], 3)),
        "does not depend on the image",
    ),
    "several": (Small(lambda n, x: [n.conv(x)], conv=shifted()), "must return a single tensor"),
}
UNCAUSAL = {
    "itself": Small(lambda n, x: n.conv(x), conv=CausalConv2d(1, 3, (0, 1), (-1, 0))),
    "right": Small(lambda n, x: n.conv(x), conv=CausalConv2d(1, 3, (0, 1), (-2, 1))),
    "late": Small(lambda n, x: n.second(n.conv(x)), conv=shifted(), second=CausalConv2d(3, 3, (0, 0), (0, 1))),
    "both": Small(lambda n, x: n.conv(x) + n.now(x), conv=shifted(), now=Pointwise([1], 3)),
}
UNSCHEDULED = {
    **UNTRACED,
    **{name: (network, "depends on .* to its right") for name, network in UNCAUSAL.items()},
    "stride": (Small(lambda n, x: n.conv(x), conv=shrunk()), "the layer conv changes the resolution"),
    "growth": (
        Small(lambda n, x: n.grow(n.conv(x), 4, 5), conv=shrunk(), grow=UpsamplingConv2d(3, 3)),
        "changes the resolution, which the wavefront sampler does not support",
    ),
}
UNPLANNED = {
    **UNTRACED,
    **{name: (network, "depends on .* to its right") for name, network in UNCAUSAL.items()},
    "early": (
        Small(lambda n, x: n.grow(n.conv(x), 8, 10), conv=shifted(), grow=UpsamplingConv2d(3, 3)),
        "factor of the layer grow must divide",
    ),
    "overlap": (
        Small(
            lambda n, x: n.grow(n.shrink(n.conv(x)), 4, 5),
            conv=shifted(),
            shrink=CausalConv2d(3, 3, (0, 0), (0, 0), stride=2),
            grow=UpsamplingConv2d(3, 3, overlap=(1, 0)),
        ),
        r"its overlap must be \(0, 0\) unless",
    ),
    "cut": (Small(lambda n, x: n.grow(n.conv(x), 4, 4), conv=shrunk(), grow=UpsamplingConv2d(3, 3)), r"\(4, 5\)"),
    "coarse": (Small(lambda n, x: n.conv(x), conv=shrunk()), "prediction"),
    "resolutions": (
        Small(lambda n, x: n.first(x) * n.second(x), first=shrunk(), second=shrunk(stride=3)),
        "different resolutions",
    ),
}


@pytest.mark.parametrize(("network", "message"), UNSCHEDULED.values(), ids=UNSCHEDULED)
def test_a_network_that_cannot_run_as_a_wavefront_is_refused_by_name(network, message):
    with pytest.raises(NoScheduleError, match=message):
        make_schedule(network)
    expected = f"(?s)sampler 'wavefront': .*{message}.*'raster' supports every"
    with pytest.raises(UserError, match=expected):
        WavefrontSampler().check(network)
    with pytest.raises(UserError, match=expected):
        sample(WavefrontSampler(), network, SampleRequest((0,)))


@pytest.mark.parametrize(("network", "message"), UNPLANNED.values(), ids=UNPLANNED)
def test_a_network_that_cannot_be_cached_is_refused_by_name(network, message):
    with pytest.raises(NoScheduleError, match=message):
        make_plan(network)
    expected = f"(?s)sampler 'cached': .*{message}.*'raster' supports every"
    with pytest.raises(UserError, match=expected):
        CachedSampler().check(network)
    with pytest.raises(UserError, match=expected):
        sample(CachedSampler(), network, SampleRequest((0,)))


@settings(deadline=None, max_examples=7)
@given(network=st.one_of(full_networks(), growing_networks()), request=REQUESTS, seed=SEEDS)
def test_what_has_no_wavefront_form_is_cached(network, request, seed):
    with pytest.raises(NoScheduleError, match="changes the resolution"):
        make_schedule(network)
    assert torch.equal(sample(AutoSampler(), network, request, seed), sample(CachedSampler(), network, request, seed))


def test_falling_back_is_logged(caplog):
    network, _ = UNSCHEDULED["method"]
    with caplog.at_level(logging.INFO, logger="auxar"):
        found = sample(AutoSampler(), network, SampleRequest((1, 2), 3))
    assert torch.equal(found, sample(RasterSampler(), network, SampleRequest((1, 2), 3)))
    (record,) = caplog.records
    assert "raster sampler" in record.getMessage()
    assert "call_method abs" in record.getMessage()


IMAGE = ImageSpec(1, height=3, width=4, levels=5)
LIGHT = components.light(components.LightConfig(filters=2, blocks=1), IMAGE)
FULL = components.full(components.FullConfig(filters=2, nr_resnet=1), IMAGE)


@pytest.mark.parametrize(("network", "chosen"), [(LIGHT, WavefrontSampler), (FULL, CachedSampler)])
def test_a_fast_sampler_is_chosen_silently(caplog, monkeypatch, network, chosen):
    used = []

    def watch(kind):
        draw = kind.sample

        def watched(*arguments):
            used.append(kind)
            return draw(*arguments)

        monkeypatch.setattr(kind, "sample", watched)

    for kind in (WavefrontSampler, CachedSampler, RasterSampler):
        watch(kind)
    with caplog.at_level(logging.INFO, logger="auxar"):
        sample(AutoSampler(), network, SampleRequest((0,)))
    assert not caplog.records
    assert used == [chosen]


@pytest.mark.parametrize("config", [WavefrontConfig, CachedConfig, AutoConfig])
def test_an_engine_of_another_name_is_refused(config):
    registry = load_plugins()
    with pytest.raises(UserError, match=r"^sampler\.engine: no engine is named 'toch'; did you mean 'torch'\?"):
        structure_options({"engine": "toch"}, config, "sampler", registry)
    with pytest.raises(UserError, match=r"^sampler\.engine: no engine is named 'zz' \(known: auto, native, torch\)"):
        structure_options({"engine": "zz"}, config, "sampler", registry)


def scaled(network, image):
    return network.conv(image) * network.scale


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (3, 1, 1), (), (1, 3, 4, 5)])
def test_a_network_with_parameters_of_its_own_samples_as_by_raster(shape):
    """The automatic sampler draws the same images as the raster sampler, by the wavefront or by falling back to it."""
    network = Small(scaled, conv=shifted(), scale=nn.Parameter(torch.ones(shape)))
    request = SampleRequest(tuple(range(20)))
    assert torch.equal(sample(AutoSampler(), network, request), sample(RasterSampler(), network, request))


@pytest.mark.parametrize("pool", [lambda f: f, lambda f: f.mean((2, 3), keepdim=True), lambda f: f[:, :1]])
def test_a_network_that_adds_what_it_makes_of_features_samples_as_by_raster(pool):
    network = Small(lambda n, x, f: n.conv(x) + pool(f), features_channels=3, conv=shifted())
    request = SampleRequest(tuple(range(20)))
    assert torch.equal(sample(AutoSampler(), network, request), sample(RasterSampler(), network, request))


# Distribution of samples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [RasterSampler(), WavefrontSampler(), CachedSampler()])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("spec", [ImageSpec(1, height=2, width=2, levels=3), ImageSpec(3, height=1, width=2, levels=2)])
def test_ancestral_samples_follow_the_model(sampler, head, spec):
    config = components.LightConfig(filters=3, blocks=1, head=HEADS[head])
    prior = randomized(CausalDistribution(components.light(config, spec)), 5)
    images = all_images(spec)
    with torch.no_grad():
        log_probs = prior.log_prob(images)
        found = prior.draw(SampleRequest(tuple(range(4000))), sampler)
    assert_follows(torch.bincount(image_numbers(found, spec.levels), minlength=len(images)), log_probs)


def test_ancestral_samples_of_an_image_and_its_view_follow_the_joint_model():
    """The joint distribution includes pairs whose view is not the view of the image, which a free decoder allows."""
    image = ImageSpec(1, height=2, width=2, levels=2)
    view = PyramidView(PyramidConfig(2), image)
    light = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    embedding = components.embedding(components.EmbeddingConfig(filters=2, blocks_per_group=1), view.view, image)
    decoder = CausalDistribution(components.light(light, image, 2))
    model = randomized(
        Chain(
            [
                Factor(decoder, view=view, embedding=embedding),
                Factor(CausalDistribution(components.light(light, view.view))),
            ]
        ),
        11,
    )
    images, views = all_images(image), all_images(view.view)
    with torch.no_grad():
        # A view of one pixel has little effect after many 3×3 layers. Without biases, its features are small but differ
        # as much as they are large, and they are scaled up.
        [stage, _] = model.factors
        for name, parameter in stage.embedding.named_parameters():
            parameter *= 0.0 if name.endswith("bias") else 10000.0 if name == "out.gain" else 1.0
        fine, coarse = model.draw_views(SampleRequest(tuple(range(4000)), 0), WavefrontSampler())
        conditional = torch.stack([stage(images, each.expand(16, -1, -1, -1)) for each in views], dim=1)
        joint = conditional + model.factors[-1].distribution.log_prob(views)
    assert (conditional[:, 0].exp() - conditional[:, 1].exp()).abs().sum() > 0.2
    cell = image_numbers(fine, 2) * 2 + coarse.flatten()
    assert_follows(torch.bincount(cell, minlength=32), joint)
    assert not torch.equal(model.views(fine)[1], coarse)


@settings(deadline=None, max_examples=8)
@given(size=SIZES, seed=SEEDS)
def test_a_model_draws_by_its_sampler(size, seed):
    image = ImageSpec(1, height=size[0], width=size[1], levels=4)
    network = randomized(components.light(components.LightConfig(filters=2, blocks=1), image), seed)
    model = Chain([Factor(CausalDistribution(network))], sampler=AutoSampler())
    expected = sample(RasterSampler(), network, SampleRequest((0, 1, 2), seed))
    assert torch.equal(auxar.ImageModel(model).sample(3, seed=seed, batch_size=2).tensor, expected)
