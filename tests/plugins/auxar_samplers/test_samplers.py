"""Tests that all samplers and engines draw the same images, that these follow the model, and of refusals."""

import copy
import itertools
import logging
import pickle
import re
from typing import Any

import attrs
import pytest
import torch
from helpers.causal_networks import (
    NETWORKS,
    REQUESTS,
    SEEDS,
    WORKING_ENGINES,
    OtherNetwork,
    knowns,
    random_images,
    randomized,
    sample,
    views_of,
)
from helpers.integer_networks import integer_twin
from helpers.marks import with_slow
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from auxar.errors import UserError
from auxar.model import CausalNetwork, GivenView, ImageSpec, SampleRequest
from auxar.testing import ContractError, check_network
from auxar_heads import logistic_mixture
from auxar_heads.softmax import SoftmaxHead
from auxar_integers import IntegerArithmetic, IntegerConfig
from auxar_layers.convolutions import CausalConv2d, Conv2d, Pointwise, UpsamplingConv2d
from auxar_pixelcnn import components
from auxar_samplers import AutoSampler, CachedSampler, RasterSampler, WavefrontSampler
from auxar_samplers.compiler.plan import make_plan
from auxar_samplers.compiler.program import Layout
from auxar_samplers.compiler.trace import NoScheduleError
from auxar_samplers.compiler.tracer import Tracer
from auxar_samplers.compiler.wavefront import make_schedule

TAPS = ((1, 3), (-2, 2)), {"above": (0, 2), "columns": (-2, 0)}


def assert_one_image(kinds, network, request, seed):
    """Asserts that kinds of samplers draw the raster sampler's images with every engine. Returns these."""
    expected = sample(RasterSampler(), network, request, seed)
    for kind, engine in itertools.product(kinds, WORKING_ENGINES):
        found = sample(kind(engine), network, request, seed)
        assert found.dtype == torch.int64
        assert torch.equal(found, expected), (kind, engine)
    assert expected.shape == (len(request.numbers), *network.image.shape)
    network.image.check_range(expected)
    return expected


@pytest.mark.parametrize("name", with_slow(NETWORKS, "full"))
@settings(deadline=None, max_examples=10)
@given(request_=REQUESTS, seed=SEEDS, training=st.booleans(), data=st.data())
def test_every_sampler_and_engine_draws_the_raster_samplers_image(name, request_, seed, training, data):
    """Free and restricted by every view, with and without known pixels, and also while the network is in training."""
    kinds, networks = NETWORKS[name]
    network, count = data.draw(networks), len(request_.numbers)
    known = data.draw(knowns(network.image, count))
    view = data.draw(st.sampled_from([None, *views_of(network.image)]))
    given = None
    if view is not None:
        given = GivenView(view.support, view(random_images(count, network.image, seed)), True)
    network.train(training)
    found = assert_one_image(kinds, network, attrs.evolve(request_, known=known, given=given), seed)
    assert all(module.training == training for module in network.modules())
    if known is not None:
        mask = known.mask[:, None]
        assert torch.equal(found.where(mask, 0), known.values.where(mask, 0))
    elif view is not None:
        assert torch.equal(view(found), given.view)


@pytest.mark.parametrize("size", [(60, 1), (35, 6), (1, 60), (3, 35)])
@pytest.mark.parametrize("features", [0, 2])
def test_the_wavefront_of_a_high_image_goes_round_slots_and_tables_many_times_and_of_a_wide_one_never(size, features):
    """Hypothesis makes no such images: storage of earlier rows is used again many times, or there are few rows."""
    image = ImageSpec(1, height=size[0], width=size[1], levels=16)
    config = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    for network in (
        components.light(config, image, features),
        OtherNetwork(image, SoftmaxHead(image), *TAPS, features),
    ):
        assert_one_image([WavefrontSampler], randomized(network, 1), SampleRequest((0, 1), 3), 4)


def stored_bytes(monkeypatch, sampler, height, width):
    """Returns the bytes that a sampler keeps between its steps, for a network with features."""
    image, sizes = ImageSpec(1, height=height, width=width, levels=2), []
    network = randomized(OtherNetwork(image, SoftmaxHead(image), *TAPS, 2), 0)

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
def test_what_a_sampler_keeps_does_not_grow_with_the_height_and_not_faster_than_the_width(monkeypatch, sampler):
    [found] = {stored_bytes(monkeypatch, sampler, height, 8) for height in (32, 64, 128)}
    assert 0 < found < stored_bytes(monkeypatch, sampler, 32, 80)
    assert stored_bytes(monkeypatch, sampler, 1, 800) <= 10 * stored_bytes(monkeypatch, sampler, 1, 80)


FAST = [WavefrontSampler("torch"), WavefrontSampler(), CachedSampler("torch"), CachedSampler(), AutoSampler()]
IMAGE = ImageSpec(1, height=3, width=4, levels=5)
LIGHT = components.light(components.LightConfig(filters=2, blocks=1), IMAGE)
FULL = components.full(components.FullConfig(filters=2, nr_resnet=1), IMAGE)


@pytest.mark.parametrize("sampler", [RasterSampler(), *FAST])
def test_a_sampler_draws_whatever_the_default_device_is(sampler):
    expected = sample(sampler, LIGHT, SampleRequest((0, 1)))
    with torch.device("meta"):
        assert torch.equal(sample(sampler, LIGHT, SampleRequest((0, 1))), expected)


# Refused networks ----------------------------------------------------------------------------------------------------


class Small(CausalNetwork):
    """A network for one channel whose forward pass is the function `run`."""

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


def shrunk(inputs=1, stride=2):
    return CausalConv2d(inputs, 3, (1, 1), (0, 0), stride=stride)


def applied(function, **layers):
    """A network that applies a function to the output of a causal convolution."""
    return Small(lambda n, x: function(n, n.conv(x)), **{"conv": shifted(), **layers})


class Gelu(nn.Module):
    """A layer that calls an unsupported function."""

    def forward(self, x):
        return functional.gelu(x)


def dynamic(network, image):
    """A forward pass that branches on the values of the image, which tracing cannot record."""
    return network.conv(image) if image.sum() > 0 else network.conv(image) * 0.5


def grown(*size, overlap=(0, 0), conv=None):
    grow = UpsamplingConv2d(3, 3, overlap=overlap)
    return applied(lambda n, x: n.grow(x, *size), conv=conv or shrunk(), grow=grow)


class Modern(CausalNetwork):
    """A network of depthwise and grouped convolutions, modules and functions of today, and a layer scale."""

    def __init__(self):
        super().__init__()
        self.image, self.features_channels = ImageSpec(1, height=4, width=5, levels=3), 0
        self.head = SoftmaxHead(self.image)
        self.start = CausalConv2d(1, 6, (0, 1), (-1, 1), last=-1)
        self.layers = nn.ModuleList(
            CausalConv2d(6, 6, (0, 1), (-1, 1), last=0, groups=groups, normalized=groups == 2) for groups in (6, 2, 6)
        )
        self.acts = nn.ModuleList([nn.GELU("tanh"), nn.Hardswish(), nn.LeakyReLU(0.1)])
        self.out = Pointwise([6], self.head.parameter_count)
        self.scale = nn.Parameter(torch.ones(6, 1, 1))
        randomized(self, 0)

    def forward(self, image, features=None):
        x = self.start(image)
        for layer, act in zip(self.layers, self.acts, strict=True):
            x = x + self.scale * functional.hardsigmoid(act(layer(x)))
        return self.out(functional.silu(x))


BOTH, RESOLUTION = ("wavefront", "cached"), "changes the resolution, which the wavefront sampler does not support"
UNCAUSAL = "depends on .* to its right"
REFUSED = {
    "ordinary": (BOTH, Small(lambda n, x: n.conv(x), conv=Conv2d(1, 3)), r"conv \(Conv2d\) is not supported"),
    "function": (BOTH, applied(lambda n, x: torch.cumsum(x, 1)), "cumsum"),
    "method": (BOTH, applied(lambda n, x: x.abs()), "operation abs is not supported"),
    "module": (BOTH, applied(lambda n, x: n.soft(x), soft=nn.Softplus()), r"soft \(Softplus\)"),
    "many": (
        BOTH,
        applied(lambda n, x: n.act(functional.gelu(x)).exp(), act=nn.Sequential(nn.Sequential(nn.Identity(), Gelu()))),
        r"operation gelu is not supported \(write gelu.*\); the layer act\.0\.0 \(Identity\) is not supported; "
        r"the operation gelu in act\.0\.1 is not supported \(write .*; the operation exp is not supported;",
    ),
    "name": (BOTH, applied(lambda n, x: functional.elu(x, alpha=0.5)), "keyword arguments; pass them by position"),
    "dynamic": (BOTH, Small(dynamic, conv=shifted()), "cannot be traced"),
    "blind": (BOTH, Small(lambda n, x, f: n.side(f), 2, side=Pointwise([2], 3)), "does not depend on the image"),
    "several": (BOTH, applied(lambda n, x: [x]), "must return a single tensor"),
    "itself": (BOTH, applied(lambda n, x: x, conv=CausalConv2d(1, 3, (0, 1), (-1, 0))), UNCAUSAL),
    "right": (BOTH, applied(lambda n, x: x, conv=CausalConv2d(1, 3, (0, 1), (-2, 1))), UNCAUSAL),
    "late": (BOTH, applied(lambda n, x: n.second(x), second=CausalConv2d(3, 3, (0, 0), (0, 1))), UNCAUSAL),
    "both": (BOTH, Small(lambda n, x: n.conv(x) + n.now(x), conv=shifted(), now=Pointwise([1], 3)), UNCAUSAL),
    "stride": (BOTH[:1], applied(lambda n, x: x, conv=shrunk()), f"the layer conv {RESOLUTION}"),
    "growth": (BOTH[:1], grown(4, 5), RESOLUTION),
    "early": (BOTH[1:], grown(8, 10, conv=shifted()), "factor of the layer grow must divide"),
    "overlap": (
        BOTH[1:],
        applied(
            lambda n, x: n.grow(n.shrink(x), 4, 5),
            shrink=CausalConv2d(3, 3, (0, 0), (0, 0), stride=2),
            grow=UpsamplingConv2d(3, 3, overlap=(1, 0)),
        ),
        r"its overlap must be \(0, 0\) unless",
    ),
    "own": (BOTH[1:], grown(4, 5, conv=CausalConv2d(1, 3, (0, 0), (0, 0), stride=2)), "conv depends on .*, on its own"),
    "cut": (BOTH[1:], grown(4, 4), r"upsamples to the size \(4, 4\), expected \(4, 5\)"),
    "coarse": (BOTH[1:], applied(lambda n, x: x, conv=shrunk()), "prediction has a lower resolution"),
    "resolutions": (
        BOTH[1:],
        Small(lambda n, x: n.first(x) * n.second(x), first=shrunk(), second=shrunk(stride=3)),
        "different resolutions",
    ),
}


@pytest.mark.parametrize(("sampler", "what"), [(each, name) for name, (of, *_) in REFUSED.items() for each in of])
def test_a_network_that_a_sampler_does_not_support_is_refused_by_name(sampler, what):
    _, network, message = REFUSED[what]
    prepare, made = {"wavefront": (make_schedule, WavefrontSampler()), "cached": (make_plan, CachedSampler())}[sampler]
    with pytest.raises(NoScheduleError, match=message):
        prepare(network)
    for use in (made.check, lambda network: sample(made, network, SampleRequest((0,)))):
        with pytest.raises(UserError, match=f"(?s)sampler '{sampler}': .*{message}.*'raster' supports every"):
            use(network)


def test_networks_of_today_are_drawn_fast_and_in_integers():
    network, request = Modern().eval(), SampleRequest(tuple(range(40)), 3)
    twin = integer_twin(network, IntegerConfig(16, 16))
    images = sample(RasterSampler(), network, SampleRequest(tuple(range(30)), 4))
    with torch.no_grad():
        expected = network(network.encode(images))
    assert (twin(twin.encode(images)) * 2.0**-20 - expected).abs().max() < 0.01 * expected.abs().max()
    for each in (network, twin):
        drawn = sample(RasterSampler(), each, request)
        assert len(drawn.unique()) == 3
        for sampler in FAST[:-1]:
            assert torch.equal(sample(sampler, each, request), drawn)
    assert type(AutoSampler()._sampler(network)) is WavefrontSampler


def test_a_network_is_traced_again_after_a_change_of_an_attribute(monkeypatch):
    network, request, traced, trace = Modern().eval(), SampleRequest(tuple(range(40)), 3), [], Tracer.trace

    def noted(*args):
        traced.append(args)
        return trace(*args)

    monkeypatch.setattr(Tracer, "trace", noted)

    def traces(network):
        for _ in range(2):
            assert torch.equal(sample(WavefrontSampler(), network, request), sample(RasterSampler(), network, request))
        return len(traced)

    assert traces(network) == 1
    randomized(network, 1)  # Weights are read whenever images are drawn.
    assert traces(network) == 1
    vars(network.acts[2])["negative_slope"] = 3.0
    assert traces(network) == 2
    network.acts[1] = nn.ReLU()
    assert traces(network) == 3
    assert traces(pickle.loads(pickle.dumps(network))) == traces(copy.deepcopy(network)) - 1 == 4
    given = Small(lambda n, x: n.conv(x) * (float(n.factor) * n.options["more"][0]["scale"]), conv=shifted())
    given.register_buffer("factor", torch.ones(()))
    vars(given)["options"] = {"more": [{"scale": 2.0}]}
    assert traces(given) == 6
    given.factor.fill_(3.0)
    assert traces(given) == 7
    vars(given)["options"]["more"][0]["scale"] = -1.0
    assert traces(given) == 8


@pytest.mark.parametrize(
    ("law", "support"), [("sampler", CachedSampler()), ("arithmetic", IntegerArithmetic(IntegerConfig()))]
)
def test_the_contract_check_says_that_a_network_is_not_supported(law, support):
    def build(config, image, channels):
        network = applied(lambda n, x: x.abs())
        network.image, network.features_channels = image, channels
        return network

    given: dict[str, Any] = {law: support}
    with pytest.raises(ContractError, match=rf"{law}: (?s:.*)abs"):
        check_network(build, None, images=[IMAGE], features=(0,), **given)


@pytest.mark.parametrize(
    ("network", "chosen", "told"),
    [
        (LIGHT, WavefrontSampler, []),
        (FULL, CachedSampler, []),
        (REFUSED["method"][1], RasterSampler, ["raster sampler.*the operation abs is"]),
    ],
    ids=["wavefront", "cached", "raster"],
)
def test_the_fastest_sampler_is_chosen_and_only_the_slow_one_is_told(caplog, network, chosen, told):
    sampler = AutoSampler()
    with caplog.at_level(logging.INFO, logger="auxar"):
        found = sample(sampler, network, SampleRequest((1, 2), 3))
    assert torch.equal(found, sample(RasterSampler(), network, SampleRequest((1, 2), 3)))
    assert type(sampler._sampler(network)) is chosen
    assert all(re.search(*each) for each in zip(told, caplog.messages, strict=True))


@pytest.mark.parametrize(
    "network",
    [
        *(
            Small(lambda n, x: n.conv(x) * n.scale, conv=shifted(), scale=nn.Parameter(torch.ones(shape)))
            for shape in [(1, 3, 1, 1), (3, 1, 1), (), (1, 3, 4, 5)]
        ),
        Small(lambda n, x, f: n.conv(x) + f, 3, conv=shifted()),
        Small(lambda n, x, f: n.conv(x) + f.mean((2, 3), keepdim=True), 3, conv=shifted()),
        Small(lambda n, x, f: n.conv(x) + f[:, :1], 3, conv=shifted()),
        Small(lambda n, x: n.conv(x), conv=CausalConv2d(1, 3, (0, 0), (-2, -1))),
        applied(lambda n, x: n.a(x), conv=CausalConv2d(1, 3, (0, 1), (-1, 0)), a=CausalConv2d(3, 3, (0, 0), (-1, -1))),
    ],
)
def test_a_network_of_any_static_values_and_kernels_samples_as_by_raster(network):
    request = SampleRequest(tuple(range(20)))
    expected = sample(RasterSampler(), network, request)
    assert all(torch.equal(sample(each, network, request), expected) for each in FAST)
