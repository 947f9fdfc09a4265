"""Tests of dropout and of the weights before and after the first batch, in every shipped network and embedding."""

from unittest import mock

import pytest
import torch
from helpers.causal_networks import generator, random_features, random_images, randomized

from auxar.model import CausalNetwork, ImageSpec
from auxar_heads import logistic_mixture
from auxar_layers import convolutions
from auxar_layers.convolutions import Convolution
from auxar_pixelcnn import components as pixelcnn
from auxar_pixelcnn.blocks import GatedBlock, ordinary_block, u_block, ul_block
from auxar_transformer import network as transformer

IMAGE = ImageSpec(3, height=8, width=10)
HALF = ImageSpec(3, height=4, width=5)
RATE = 0.375
"""A dropout rate that is not the default of any component."""
HEAD = logistic_mixture(2)
FEATURES = 2
COUNT = 8
"""The number of images of a batch."""


def light(rate):
    return pixelcnn.light(pixelcnn.LightConfig(6, 2, rate, HEAD), IMAGE, FEATURES)


def full(rate):
    return pixelcnn.full(pixelcnn.FullConfig(6, 2, rate, HEAD), IMAGE, FEATURES)


def same_size(rate):
    return pixelcnn.embedding(pixelcnn.EmbeddingConfig(6, 2, rate), IMAGE, IMAGE)


def enlarging(rate):
    return pixelcnn.embedding(pixelcnn.EmbeddingConfig(6, 2, rate), HALF, IMAGE)


def attentive(rate):
    return transformer.transformer(transformer.TransformerConfig(6, 2, 2, rate, HEAD), IMAGE, FEATURES)


PLACES = {
    # Two streams of 2 blocks.
    light: 2 * 2,
    # Two streams of 2 blocks at each of three resolutions on the way down, and of 2, 3 and 3 blocks on the way up.
    full: 2 * (2 + 2 + 2 + 2 + 3 + 3),
    # One such stream.
    same_size: 2 + 2 + 2 + 2 + 3 + 3,
    # Five groups of 2 blocks.
    enlarging: 5 * 2,
    # The attention and the two-layer network of 2 blocks.
    attentive: 2 * 2,
}
"""The functions that build the networks and embeddings for a dropout rate, and the numbers of places with dropout."""


def inputs(network):
    """Random images and features for a network, or views for an embedding, in float64."""
    if hasattr(network, "view"):
        return [random_images(COUNT, network.view)]
    return [network.encode(random_images(COUNT, IMAGE)), random_features(network, COUNT)]


# Dropout --------------------------------------------------------------------------------------------------------------


def output(network, dropout):
    """The output of a network in which the function `dropout` replaces the dropout function."""
    with torch.no_grad(), mock.patch.object(convolutions, "dropout", dropout):
        return network(*inputs(network))


def without(place):
    """A dropout function that drops all values in its call number `place`, and none in other calls."""
    calls = iter(range(1000))
    return lambda x, rate: x * (next(calls) != place)


@pytest.mark.parametrize("build", PLACES, ids=lambda build: build.__name__)
def test_dropout_is_at_every_place_with_the_rate_of_the_options_in_training_alone(build):
    network, rates = randomized(build(RATE), 0), []

    def noted(x, rate):
        rates.append(rate)
        return x

    still = output(network, noted)
    assert rates == []
    assert torch.equal(output(network.train(), noted), still)
    assert rates == [RATE] * PLACES[build]
    for place in range(PLACES[build]):
        assert not torch.equal(output(network, without(place)), still)
    assert torch.equal(output(randomized(build(0.0), 0).train(), noted), still)
    assert len(rates) == PLACES[build]


@pytest.mark.parametrize("make", [u_block, ul_block, ordinary_block])
def test_a_block_drops_inputs_of_its_second_convolution(make):
    block = randomized(make(3, [2], RATE), 0).train()
    block.second.bias.data.zero_()
    x, side = (torch.randn((2, channels, 4, 5), generator=generator(channels)).double() for channels in (3, 2))
    seen = []

    def nothing(values, rate):
        seen.append(values)
        return values * 0

    with mock.patch.object(convolutions, "dropout", nothing):
        assert torch.equal(block(x, side), x)
    (values,) = seen
    halves = values.unflatten(1, (2, 3)).unbind(1)
    # Of elu(x) and elu(-x), exactly one is positive.
    assert ((halves[0] > 0) != (halves[1] > 0)).all()


def test_a_transformer_drops_the_outputs_that_are_added_to_tokens():
    network = randomized(attentive(RATE), 0).train()
    with mock.patch.object(network, "blocks", torch.nn.ModuleList()):
        expected = output(network, None)
    assert torch.equal(output(network, lambda x, rate: x * 0), expected)


# Initialization -------------------------------------------------------------------------------------------------------


def test_a_transformer_starts_with_positions_as_large_as_pixels():
    config = transformer.TransformerConfig(width=256)
    network = transformer.transformer(config, ImageSpec(height=32, width=32))
    for positions in (network.rows, network.columns):
        assert positions.std().item() == pytest.approx(0.5, rel=0.05)
        assert abs(positions.mean().item()) < 0.03


def layers_of(network):
    """The weight-normalized layers of a network, each with the deviation of its outputs after initialization.

    It is 0.1 for the second convolution of a residual block, so that the block starts near the identity, and 1 for all
    other layers.
    """
    second = {module.second for module in network.modules() if isinstance(module, GatedBlock)}
    layers = [module for module in network.modules() if isinstance(module, Convolution)]
    return {layer: 0.1 if layer in second else 1.0 for layer in layers}


@pytest.mark.parametrize("build", [light, full, same_size, enlarging], ids=lambda build: build.__name__)
def test_the_first_batch_gives_every_layer_the_mean_and_deviation_of_the_paper(build):
    """Each channel gets mean 0 and the layer's deviation, or less if its deviation is below 0.05 before.

    Predictions get the means that the head chooses, and a tenth of this deviation.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(RATE).double()
    deviations = layers_of(network)
    for layer, deviation in deviations.items():
        torch.testing.assert_close(layer.gain.detach(), torch.full_like(layer.gain, deviation))
        assert (layer.bias == 0).all()
    directions = torch.cat([layer.direction.detach().flatten() for layer in deviations])
    assert directions.std().item() == pytest.approx(0.05, rel=0.05)
    seen = {}

    def compare(layer, arguments, found):
        assert layer not in seen
        seen[layer] = found
        # Outputs of the first layers that read no pixel of the image are 0, and do not count.
        row, column = getattr(layer, "first", (0, 0))
        deviation, mean = torch.std_mean(found[:, :, row:, column:], dim=(0, 2, 3), correction=0)
        before = deviations[layer] * deviation / layer.gain
        predicts = isinstance(network, CausalNetwork) and layer is network.out
        start = network.head.initial_parameters(batch) if predicts else torch.zeros_like(mean)
        expected = deviations[layer] * (before / 0.05).clamp(max=1) * (0.1 if predicts else 1)
        torch.testing.assert_close(mean, start, rtol=0, atol=1e-6)
        torch.testing.assert_close(deviation, expected, rtol=1e-5, atol=1e-9)

    first = inputs(network)
    network.eval()
    batch = random_images(COUNT, IMAGE)
    network.initialize(*[batch, *first[1:]] if len(first) > 1 else first)
    for layer in deviations:
        layer.register_forward_hook(compare)
    with torch.no_grad():
        network(*first)
    assert seen.keys() == deviations.keys()
