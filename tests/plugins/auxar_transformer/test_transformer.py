"""Tests that the transformer, which has no convolutions, is a causal network: its likelihoods, samples and bounds."""

import logging

import pytest
import torch
from helpers.causal_networks import SEEDS, SIZES, heads, random_features, random_images, randomized, sample, specs
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.model import ForceSource, ImageSpec, SampleRequest
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_pixelcnn import components as pixelcnn
from auxar_samplers import AutoSampler, StepwiseSampler
from auxar_transformer.network import TransformerConfig, TransformerNetwork


@st.composite
def networks(draw, images=None, features=(0, 2)):
    image = draw(specs(SIZES) if images is None else images)
    count = draw(st.sampled_from([1, 2]))
    network = TransformerNetwork(
        image,
        draw(heads(image)),
        width=count * draw(st.integers(2, 4)),
        blocks=draw(st.integers(1, 2)),
        heads=count,
        features_channels=draw(st.sampled_from(features)),
        dropout=0.5,
    )
    return randomized(network, draw(SEEDS))


def fresh(seed, image, *, features_channels=0):
    """Returns an untrained transformer. With sharper attention, some dependences would vanish in rounding errors."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = LogisticMixtureHead(image, 2)
        network = TransformerNetwork(
            image, head, width=8, blocks=2, heads=2, features_channels=features_channels, dropout=0.0
        )
    return network.double().eval()


def test_the_stepwise_sampler_refuses_other_networks_and_orders():
    image = ImageSpec(3, height=3, width=4)
    other = pixelcnn.light(pixelcnn.LightConfig(filters=2, blocks=1), image)
    with pytest.raises(UserError, match=r"needs a network derived from auxar\.StepwiseNetwork, got "):
        StepwiseSampler().check(other)
    source = ForceSource(random_images(1, image, 0), image)
    source.lag = 3
    with pytest.raises(UserError, match="draws pixels in raster order, which is a lag of 4 columns, got 3"):
        StepwiseSampler().sample(fresh(0, image), None, source)


@settings(deadline=None, max_examples=10)
@given(network=networks(), seed=SEEDS)
def test_predictions_are_those_of_the_formulas(network, seed):
    """A pre-norm transformer computed token by token, from the weights of the network."""
    spec, width = network.image, network.rows.shape[2]
    image, features = network.encode(random_images(1, spec, seed)), random_features(network, 1, seed)
    with torch.no_grad():
        found = network(image, features)[0].flatten(1).T
        tokens = (network.rows + network.columns).flatten(0, 1).clone()
        tokens[1:] += linear(network.pixels, image[0].flatten(1).T[:-1])
        if features is not None:
            tokens += features[0].flatten(1).T @ network.features.weight.T
        for block in network.blocks:
            tokens = tokens + attention(block.attention, normed(block.first_norm, tokens))
            first, _, second = block.pointwise
            hidden = linear(first, normed(block.second_norm, tokens))
            assert hidden.shape[1] == 4 * width
            tokens = tokens + linear(second, hidden * (1 + torch.erf(hidden / 2**0.5)) / 2)
        torch.testing.assert_close(found, linear(network.out, normed(network.norm, tokens)))


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def normed(norm, x):
    variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias


def attention(layer, x):
    """Attention of each token to itself and the tokens before it, (tokens, width)."""
    queries, keys, values = (part.tensor_split(layer.heads, dim=1) for part in linear(layer.inward, x).chunk(3, dim=1))
    rows = []
    for last in range(1, len(x) + 1):
        row = []
        for query, key, value in zip(queries, keys, values, strict=True):
            scores = key[:last] @ query[last - 1] / key.shape[1] ** 0.5
            row.append(scores.softmax(0) @ value[:last])
        rows.append(torch.cat(row))
    return linear(layer.outward, torch.stack(rows))


@pytest.mark.parametrize("features_channels", [0, 2])
def test_the_automatic_sampler_computes_each_token_once(caplog, features_channels):
    network = fresh(0, ImageSpec(1, height=2, width=3), features_channels=features_channels)
    tokens = []
    network.out.register_forward_hook(lambda layer, inputs, output: tokens.append(output.shape[1]))
    with caplog.at_level(logging.INFO, logger="auxar"):
        sample(AutoSampler(), network, SampleRequest((0,)))
    assert tokens == [1] * 6
    assert not caplog.records


@pytest.mark.parametrize(("width", "heads"), [(100, 8), (4, 8)])
def test_a_width_that_the_heads_do_not_divide_is_refused(width, heads):
    with pytest.raises(ValueError, match=f"a multiple of heads, got width = {width} and heads = {heads}"):
        TransformerConfig(width, heads=heads)
