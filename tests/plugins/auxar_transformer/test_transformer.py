"""Tests that the transformer, which has no convolutions, is a causal network: its likelihoods, samples and bounds."""

import logging
from pathlib import Path

import attrs
import pytest
import tomli_w
import torch
from helpers.causal_networks import (
    HEADS,
    REQUESTS,
    SEEDS,
    SIZES,
    all_images,
    changed_predictions,
    heads,
    image_numbers,
    random_features,
    random_images,
    randomized,
    sample,
    specs,
)
from helpers.contract import checking_shipped_heads_once
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.model import CausalDistribution, Chain, Factor, ForceSource, Head, ImageSpec, SampleRequest
from auxar.recipe.building import build_model
from auxar.recipe.cost import factor_costs
from auxar.recipe.loading import parse_recipe
from auxar.testing import check_network, check_sampler
from auxar_heads import logistic_mixture
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn import components as pixelcnn
from auxar_samplers import AutoSampler, CachedSampler, RasterSampler, StepwiseSampler, WavefrontSampler
from auxar_transformer import components
from auxar_transformer.components import TransformerConfig
from auxar_transformer.network import TransformerNetwork

SMALL = TransformerConfig(width=4, blocks=1, heads=2, head=logistic_mixture(2))


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


# Contract ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["logistic_mixture", pytest.param("softmax", marks=pytest.mark.slow)])
def test_the_network_keeps_the_contract(head):
    with checking_shipped_heads_once():
        check_network(components.transformer, attrs.evolve(SMALL, head=HEADS[head]))


def test_the_stepwise_sampler_keeps_the_contract():
    images = ImageSpec(3, height=3, width=4), ImageSpec(1, height=5, width=1, levels=7)
    networks = [fresh(0, image, features_channels=features) for image in images for features in (0, 2)]
    check_sampler(lambda config: StepwiseSampler(), None, networks=networks)


def test_the_stepwise_sampler_refuses_other_networks_and_orders():
    image = ImageSpec(3, height=3, width=4)
    other = pixelcnn.light(pixelcnn.LightConfig(filters=2, blocks=1), image)
    with pytest.raises(UserError, match=r"needs a network derived from auxar\.StepwiseNetwork, got "):
        StepwiseSampler().check(other)
    source = ForceSource(random_images(1, image, 0), image)
    source.lag = 3
    with pytest.raises(UserError, match="draws pixels in raster order, which is a lag of 4 columns, got 3"):
        StepwiseSampler().sample(fresh(0, image), None, source)


# Causality -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(network=networks(), seed=SEEDS)
def test_a_prediction_depends_on_earlier_pixels_alone(network, seed):
    """Changing a pixel leaves all predictions at it and before it equal to the last bit."""
    assert not changed_predictions(network, seed).tril().any()


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS, size=st.sampled_from([(1, 6), (5, 1), (4, 5)]), features=st.sampled_from([0, 2]))
def test_a_prediction_depends_on_every_earlier_pixel(seed, size, features):
    image = ImageSpec(3, height=size[0], width=size[1])
    changed = changed_predictions(fresh(seed, image, features_channels=features), seed)
    places = size[0] * size[1]
    assert torch.equal(changed, torch.ones(places, places, dtype=torch.bool).triu(1))


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_a_prediction_depends_on_the_features_of_its_pixel_and_of_those_before(seed):
    spec = ImageSpec(1, height=3, width=4)
    network = fresh(seed, spec, features_channels=2)
    image = network.encode(random_images(1, spec, seed)).expand(12, -1, -1, -1)
    before = random_features(network, 1, seed).repeat(12, 1, 1, 1)
    after = before.clone()
    for place in range(12):
        after[place].flatten(1)[:, place] += 1
    with torch.no_grad():
        changed = (network(image, before) != network(image, after)).any(1).flatten(1)
    assert torch.equal(changed, torch.ones(12, 12, dtype=torch.bool).triu())


@settings(deadline=None, max_examples=10)
@given(seed=SEEDS)
def test_rows_and_columns_have_embeddings_of_their_own(seed):
    """A prediction depends only on the position embeddings of the rows and columns of its own and earlier pixels."""
    spec = ImageSpec(1, height=3, width=4)
    network = fresh(seed, spec)
    prediction = network(network.encode(random_images(1, spec, seed)))[0].pow(2).sum(0)
    for place in range(12):
        row, column = divmod(place, 4)
        read = torch.autograd.grad(prediction[row, column], [network.rows, network.columns], retain_graph=True)
        rows, columns = ((gradient.flatten(1) != 0).any(1).nonzero().flatten().tolist() for gradient in read)
        assert rows == list(range(row + 1))
        assert columns == list(range(4 if row else column + 1))


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


# Sampling ------------------------------------------------------------------------------------------------------------


class Recording(Head):
    """A wrapper of a head that records the parameters of all draws."""

    def __init__(self, head):
        self.head = head
        self.parameter_count, self.uniform_count = head.parameter_count, head.uniform_count
        self.seen = []

    def log_prob(self, parameters, image):
        return self.head.log_prob(parameters, image)

    def draw(self, parameters, uniforms, rule):
        self.seen.append(parameters)
        return self.head.draw(parameters, uniforms, rule)


@settings(deadline=None, max_examples=40)
@given(network=networks(), request=REQUESTS, seed=SEEDS)
def test_what_is_drawn_from_is_what_the_drawn_image_gives(network, request, seed):
    """The parameters of each draw equal, to the last bit, those of one forward pass over the drawn image."""
    network.head = Recording(network.head)
    features = random_features(network, len(request.numbers), seed)
    image = sample(RasterSampler(), network, request, features=features)
    network.image.check_range(image)
    with torch.no_grad():
        taught = network(network.encode(image), features)
    assert torch.equal(torch.stack(network.head.seen, dim=2), taught.flatten(2))


@settings(deadline=None, max_examples=20)
@given(network=networks(), request=REQUESTS, seed=SEEDS)
def test_the_automatic_sampler_draws_as_the_raster_sampler(network, request, seed):
    features = random_features(network, len(request.numbers), seed)
    found = sample(AutoSampler(), network, request, features=features)
    assert torch.equal(found, sample(RasterSampler(), network, request, features=features))


@pytest.mark.parametrize("features_channels", [0, 2])
def test_the_automatic_sampler_computes_each_token_once(caplog, features_channels):
    network = fresh(0, ImageSpec(1, height=2, width=3), features_channels=features_channels)
    tokens = []
    network.out.register_forward_hook(lambda layer, inputs, output: tokens.append(output.shape[1]))
    with caplog.at_level(logging.INFO, logger="auxar"):
        sample(AutoSampler(), network, SampleRequest((0,)))
    assert tokens == [1] * 6
    assert not caplog.records


@pytest.mark.parametrize("sampler", [WavefrontSampler(), CachedSampler()], ids=lambda sampler: sampler.name)
def test_fast_samplers_refuse_it_and_name_one_that_works(sampler):
    network = fresh(0, ImageSpec(1, height=2, width=3))
    expected = rf"sampler '{sampler.name}': the operation call_method flatten .*sampler 'raster' supports every"
    with pytest.raises(UserError, match=expected):
        sampler.check(network)


@pytest.mark.parametrize("head", HEADS)
def test_draws_follow_the_likelihood(head):
    spec = ImageSpec(1, height=1, width=3, levels=2)
    network = components.transformer(attrs.evolve(SMALL, head=HEADS[head]), spec)
    prior = randomized(Chain([Factor(CausalDistribution(network))]), 1)
    total = 2000
    with torch.no_grad():
        images = prior.draw(SampleRequest(tuple(range(total))), RasterSampler())
        expected = prior.log_prob(all_images(spec)).exp()
    share = torch.bincount(image_numbers(images, 2), minlength=8) / total
    # The tolerance is five standard deviations of a share, plus 0.001.
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / total).sqrt() + 1e-3).all()


@pytest.mark.parametrize("head", HEADS)
def test_the_probabilities_of_all_images_add_up_to_one(head):
    spec = ImageSpec(3, height=1, width=2, levels=2)
    prior = randomized(CausalDistribution(components.transformer(attrs.evolve(SMALL, head=HEADS[head]), spec)), 0)
    with torch.no_grad():
        total = prior.log_prob(all_images(spec)).logsumexp(0)
    assert total.item() == pytest.approx(0, abs=1e-9)


MIXTURE = {"name": "logistic_mixture", "components": 5}


def recipe(**prior):
    table = {
        "data": {"path": "pictures"},
        "image": {"height": 8, "width": 8},
        "stage": [
            {
                "view": {"name": "pyramid"},
                "embedding": {"name": "resnet", "filters": 2, "blocks_per_group": 1},
                "decoder": {"name": "transformer", "width": 12, "blocks": 2, "heads": 3},
            }
        ],
        "prior": {"name": "transformer", "width": 8, "blocks": 3, "heads": 2, "head": MIXTURE} | prior,
        "training": {"steps": 1},
    }
    return parse_recipe(tomli_w.dumps(table), Path("."))


def test_a_recipe_builds_both():
    read, registry = recipe(head="softmax")
    model = build_model(read, registry, on="meta")
    found = [module for module in model.modules() if isinstance(module, TransformerNetwork)]
    assert [(network.image.height, network.features_channels, len(network.blocks)) for network in found] == [
        (8, 2, 2),
        (4, 0, 3),
    ]
    assert isinstance(found[1].head, SoftmaxHead)
    assert all(block.attention.heads == 3 for block in found[0].blocks)


def test_the_multiply_adds_of_attention_are_counted():
    """Attention is counted in full, including the products that the causal mask removes."""
    prior = factor_costs(*recipe())[-1]
    tokens, width = 4 * 4, 8
    parameters = 5 * (1 + 2 * 3 + 3)
    block = tokens * (3 + 1 + 4 + 4) * width**2 + 2 * tokens**2 * width
    assert prior.multiply_adds == tokens * 3 * width + 3 * block + tokens * width * parameters


@pytest.mark.parametrize(
    ("width", "heads", "nearest"),
    [
        (100, 8, "width = 96 or 104, or heads = 5"),
        (4, 8, "width = 8, or heads = 4"),
        (7, 2, "width = 6 or 8, or heads = 1"),
    ],
)
def test_a_width_that_the_heads_do_not_divide_is_refused(width, heads, nearest):
    with pytest.raises(UserError, match=f"nearest: {nearest}.*got width = {width} and heads = {heads}") as error:
        recipe(width=width, heads=heads)
    assert str(error.value).startswith("prior")


@pytest.mark.parametrize(
    ("key", "value"),
    [("width", 0), ("blocks", 0), ("heads", 0), ("dropout", 1.0), ("dropout", -0.1)],
)
def test_an_option_out_of_range_is_refused(key, value):
    with pytest.raises(UserError, match=key):
        recipe(**{key: value})


def test_a_head_of_another_name_is_refused():
    with pytest.raises(
        UserError, match=r"^prior\.head: no head is named 'normal' \(known: logistic_mixture, softmax\)"
    ):
        recipe(head="normal")


def test_channels_that_the_head_does_not_take_are_refused():
    with pytest.raises(UserError, match="1 or 3 channels, got 2×2×2"):
        components.transformer(SMALL, ImageSpec(2, height=2, width=2))


def test_only_the_places_depend_on_the_size():
    small, large = (components.transformer(SMALL, ImageSpec(height=side, width=2 * side)) for side in (2, 5))
    counts = [sum(parameter.numel() for parameter in prior.parameters()) for prior in (small, large)]
    assert counts[1] - counts[0] == (15 - 6) * 4
