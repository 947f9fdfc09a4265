"""Tests that every execution of an integer network gives the same integers, and that no number can overflow."""

import math
import operator

import attrs
import pytest
import torch
from helpers.causal_networks import (
    ENGINES,
    REQUESTS,
    SEEDS,
    full_networks,
    generator,
    growing_networks,
    knowns,
    light_networks,
    other_networks,
    random_images,
    randomized,
    reason_to_skip,
    sample,
)
from helpers.integer_networks import FEATURE_BITS, integer_features, integer_twin
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from auxar import CausalDistribution, CausalNetwork
from auxar.errors import UserError
from auxar.model import Factor, ImageSpec, SampleRequest
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_integers import storage
from auxar_integers.arithmetic import IntegerArithmetic
from auxar_integers.conversion import IntegerConfig
from auxar_integers.graph import IntegerGraph
from auxar_integers.steps import Operation
from auxar_integers.storage import described, read_graph
from auxar_layers.convolutions import CausalConv2d, Pointwise
from auxar_layers.functional import gate
from auxar_layers.integer_functions import IntegerConcat, Requantize
from auxar_pixelcnn.networks import LightNetwork
from auxar_samplers import AutoSampler, CachedSampler, RasterSampler, WavefrontSampler

NETWORKS = st.one_of(light_networks(), full_networks(), other_networks(), growing_networks())
WIDTHS = st.sampled_from([IntegerConfig(8, 8), IntegerConfig(12, 14), IntegerConfig(16, 16)])


@settings(deadline=None, max_examples=6)
@given(network=NETWORKS, widths=WIDTHS, request_=REQUESTS, seed=SEEDS, data=st.data())
def test_all_samplers_and_engines_draw_the_same_images(network, widths, request_, seed, data):
    twin = integer_twin(network, widths)
    count = len(request_.numbers)
    features = integer_features(network, count, seed)
    known = data.draw(knowns(network.image, count))
    expected = sample(RasterSampler(), twin, request_, features=features, known=known)
    for engine in ("torch",) if reason_to_skip() else ("torch", "native"):
        for sampler in (WavefrontSampler(engine=engine), CachedSampler(engine=engine)):
            try:
                sampler.check(network)
            except UserError:
                continue  # The sampler does not support the network, in any arithmetic.
            sampler.check(twin)
            assert torch.equal(sample(sampler, twin, request_, features=features, known=known), expected)
    alone = attrs.evolve(request_, numbers=request_.numbers[-1:])
    if known is None:
        own = None if features is None else features[-1:]
        assert torch.equal(sample(RasterSampler(), twin, alone, features=own), expected[-1:])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("head", [SoftmaxHead, lambda image: LogisticMixtureHead(image, 1)])
def test_the_noise_that_separates_two_values_is_the_same_in_both_engines(engine, head, monkeypatch):
    image = ImageSpec(1, height=2, width=2, levels=2)
    twin = integer_twin(LightNetwork(image, head(image), filters=2, blocks=1, features_channels=0, dropout=0.0).eval())
    for parameter in twin.parameters():
        parameter.zero_()  # With parameters of 0, both values have the frequency TOTAL / 2.
    noise = torch.tensor([0.5, 0.5 - 2.0**-25, 0.5 + 2.0**-25, 0.5 - 2.0**-24], dtype=torch.float64)
    monkeypatch.setattr(SampleRequest, "uniforms", lambda *_: noise.view(1, 1, 2, 2))
    for sampler in (WavefrontSampler(engine=engine), CachedSampler(engine=engine)):
        assert sample(sampler, twin, SampleRequest((0,))).flatten().tolist() == [1, 0, 1, 0]


@settings(deadline=None, max_examples=6)
@given(network=st.one_of(light_networks(), full_networks()), seed=SEEDS)
def test_wide_integers_predict_nearly_the_parameters_of_the_network(network, seed):
    images, features = random_images(3, network.image, seed), integer_features(network, 3, seed)
    floats = None if features is None else features * 2.0**-FEATURE_BITS
    twin = integer_twin(network, IntegerConfig(16, 16), images, floats)
    found = twin(twin.encode(images), features) * 2.0**-20
    with torch.no_grad():
        expected = network(network.encode(images), floats)
    # Random networks amplify rounding.
    difference = (found - expected).abs().median()
    assert difference <= 2e-3 * (1 + expected.abs().median())


@settings(deadline=None, max_examples=7)
@given(network=NETWORKS, widths=WIDTHS, seed=SEEDS)
def test_no_number_exceeds_its_proven_bound(network, widths, seed):
    twin = integer_twin(network, widths)
    levels, channels = network.image.levels, network.image.channels + network.marks_pixels
    inputs = {"image": torch.full((channels,), float(levels - 1), dtype=torch.float64)}
    noise = generator(seed)

    def signs(channels):
        return 2 * torch.randint(0, 2, (4, channels, *network.image.shape[1:]), generator=noise) - 1.0

    values = {"image": signs(channels) * (levels - 1)}
    if network.features_channels:
        bound = 2.0**FEATURE_BITS * 8
        inputs["features"] = torch.full((network.features_channels,), bound, dtype=torch.float64)
        values["features"] = signs(network.features_channels) * bound
    values = {name: value.double() for name, value in values.items()}
    bounds, computed = twin.graph.bounds(**inputs), twin.graph(**values)
    for operation in twin.graph.operations:
        arguments = [values[name] for name in operation.inputs]
        if operation.module is None:
            value = arguments[0] + arguments[1]
        else:
            value = operation.module(*arguments, *operation.sizes)
        values[operation.name] = value
        if value.numel():
            largest = value.abs().amax((0, 2, 3))
            assert bool((largest <= bounds[operation.name]).all()), operation.name
            assert bounds[operation.name].dtype == torch.float64
            assert bool((value == value.round()).all())
    assert torch.equal(computed, value)


@settings(deadline=None, max_examples=6)
@given(network=st.one_of(light_networks(), full_networks()))
def test_all_operations_but_layers_that_change_sizes_are_in_steps(network):
    for group, step in integer_twin(network).graph.steps:
        changing = [each.module for each in group if getattr(each.module, "padding", (0, 0)) is None]
        assert (step is None) == (len(group) == len(changing) == 1)


@settings(deadline=None, max_examples=6)
@given(network=NETWORKS, seed=SEEDS)
def test_a_graph_that_is_read_again_computes_the_same(network, seed):
    twin = integer_twin(network)
    again = read_graph(*described(twin.graph, "x/"), "x/")
    images, features = random_images(2, network.image, seed), integer_features(network, 2, seed)
    inputs = {"image": twin.encode(images), **({} if features is None else {"features": features})}
    assert torch.equal(again(**inputs), twin.graph(**inputs))
    assert described(again, "x/")[0] == described(twin.graph, "x/")[0]


def test_a_number_that_could_overflow_is_refused():
    multiplier = torch.tensor([2.0**40])
    graph = IntegerGraph([Operation("product", Requantize(multiplier=multiplier, shift=20, bound=100), ("image",))])
    graph.bounds(image=torch.tensor([2.0**12], dtype=torch.float64))
    with pytest.raises(OverflowError, match=r"9\.01e\+15"):
        graph.bounds(image=torch.tensor([2.0**13], dtype=torch.float64))


class Unknown(CausalConv2d):
    """A layer that has no integer counterpart, because it may compute something else."""


SUMS = (operator.add, operator.sub)


class Sketch(CausalNetwork):
    """A network whose result is a function of a layer, or of two layers, and not the layer itself."""

    def __init__(self, function, filters=4):
        super().__init__()
        self.image = ImageSpec(1, height=3, width=3, levels=4)
        self.head = SoftmaxHead(self.image)
        self.features_channels = 0
        self.layer, self.other = (CausalConv2d(1, filters, above=(1, 2), columns=(-1, 1)) for _ in range(2))
        self.function = function

    def forward(self, image, features=None):
        found = self.layer(image)
        if self.function in SUMS:
            return self.function(found, self.other(image))
        return found + self.layer(image) * 0.5 if self.function is None else self.function(found)


def scaled(shape, function=operator.mul):
    """A network whose result is a function of a layer and of a parameter of this shape."""
    network = Sketch(torch.relu).eval()
    network.scale = nn.Parameter(torch.linspace(0.5, 1, math.prod(shape)).view(shape))
    network.function = lambda x: function(x, network.scale)
    return network


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (4, 1, 1), (1, 4, 1, 1)])
def test_values_may_be_multiplied_by_a_parameter_for_all_channels_or_for_each(shape):
    torch.manual_seed(0)
    network = scaled(shape)
    images = random_images(6, network.image, 1)
    with torch.no_grad():
        expected = network(network.encode(images))
    assert expected.abs().max() > 0.1
    twin = integer_twin(network)
    assert (twin(twin.encode(images)) * 2.0**-20 - expected).abs().max() < 2e-3


# Tracing finds functions by their names, so they are called by name.
@pytest.mark.parametrize(
    ("function", "filters"),
    [(torch.relu, 4), (lambda x: functional.elu(x), 4), (torch.tanh, 4), (functional.silu, 4), (lambda x: gate(x), 8)]
    + [(lambda x: torch.cat([8.0 * torch.tanh(x), torch.relu(x)], 1), 2), (None, 4)]
    + [(function, 4) for function in SUMS],
    ids=["relu", "elu", "tanh", "silu", "gate", "concat", "half", "sum", "difference"],
)
def test_a_network_may_end_in_a_function(function, filters):
    torch.manual_seed(0)
    network = Sketch(function, filters).eval()
    images = random_images(6, network.image, 1)
    twin = integer_twin(network)
    with torch.no_grad():
        expected = network(network.encode(images))
    assert expected.abs().max() > 0.1
    found, again = twin(twin.encode(images)), read_graph(*described(twin.graph, "x/"), "x/")
    assert (found * 2.0**-20 - expected).abs().max() < 2e-3
    assert torch.equal(again(image=twin.encode(images)), found)


class Rereading(Sketch):
    """A network whose layer `features` has the name of an input that a later layer reads again."""

    def __init__(self):
        super().__init__(None)
        self.features_channels = 2
        self.features, self.again = Pointwise([2], 4), Pointwise([2], 4)

    def forward(self, image, features=None):
        return torch.relu(self.layer(image) + self.features(features)) + self.again(features)


def test_a_layer_may_have_the_name_of_an_input():
    network = randomized(Rereading().double().eval(), 0)
    images, features = random_images(6, network.image, 1), integer_features(network, 6)
    assert features is not None
    floats = features * 2.0**-FEATURE_BITS
    with torch.no_grad():
        expected = network(network.encode(images).double(), floats)
    twin = integer_twin(network, IntegerConfig(16, 16), images.double(), floats)
    found = twin(twin.encode(images), features)
    assert (found * 2.0**-20 - expected).abs().max() < 1e-2 * expected.abs().max()


def test_concatenated_values_keep_their_bounds_and_are_drawn_by_the_raster_sampler():
    bounds = IntegerConcat().bound_of(torch.tensor([1.0, 2.0]), torch.tensor([3.0]))
    assert bounds.tolist() == [1.0, 2.0, 3.0]
    twin = integer_twin(Sketch(lambda x: torch.cat([torch.tanh(x), torch.relu(x)], 1), 2).eval())
    with pytest.raises(UserError, match="IntegerConcat"):
        WavefrontSampler().check(twin)
    request = SampleRequest((0, 1))
    assert torch.equal(sample(AutoSampler(), twin, request), sample(RasterSampler(), twin, request))


class OwnEncoding(Sketch):
    def encode(self, image):
        return 3.0 * super().encode(image)


def unknown_layer():
    network = Sketch(torch.relu)
    network.layer = Unknown(1, 4, above=(1, 2), columns=(-1, 1))
    return network


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (unknown_layer(), r"the layer layer \(Unknown\) has no integer counterpart"),
        (OwnEncoding(torch.relu), "OwnEncoding encodes pixels by a method of its own"),
        (Sketch(lambda x: functional.elu(x, 0.25)), "a call of elu with alpha = 0.25 has no integer counterpart"),
        (Sketch(lambda x: gate(x=x)), "a call of gate with 0 arguments has no integer counterpart"),
        (Sketch(lambda x: functional.softplus(functional.gelu(x))), r"gelu has no .*\(write gelu.*; the .* softplus h"),
        (Sketch(lambda x: torch.cat([x, x], 2)), "a call of cat with dim = 2 has no integer counterpart"),
        (Sketch(lambda x: torch.cat([x, x], dim=1)), "a call of cat with 1 arguments has no integer counterpart"),
        (scaled((4, 1, 1), lambda x, scale: x * (scale * 0.5)), "a product of parameters and numbers alone has no"),
        (scaled((4, 1, 1), lambda x, scale: x * (scale * scale)), "a product of parameters and numbers alone has no"),
    ],
)
def test_networks_that_would_be_converted_wrongly_are_refused(network, message):
    with pytest.raises(UserError, match=message):
        IntegerArithmetic(IntegerConfig()).check(Factor(CausalDistribution(network)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("bound", -100), ("bound", 0), ("shift", 2000), ("shift", 0.5), ("weights", [0.5, 1]), ("constant", None)],
)
def test_constants_that_would_break_the_proof_are_refused(name, value):
    with pytest.raises((TypeError, ValueError)):
        storage._constant(name, value)
