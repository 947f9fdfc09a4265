"""Tests of the rule `guided`: each value is drawn from the predictions with and without the condition."""

import pytest
import torch
from helpers.causal_networks import SAMPLERS as WITH_ENGINES
from helpers.choices import chosen

from auxar.errors import UserError
from auxar.model import (
    Ancestral,
    CausalDistribution,
    Chain,
    Condition,
    Conditioning,
    Factor,
    ImageSpec,
    Known,
    SampleRequest,
    Values,
    rule_effects,
)
from auxar.numerics import categorical
from auxar.testing import check_rule
from auxar.testing.examples import random_images, randomized
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_pixelcnn.condition import CategoriesEmbedding
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_rules import ByDepth, Guided
from auxar_samplers import AutoSampler

SAMPLERS = {**WITH_ENGINES, "auto": AutoSampler()}
LABELS = Condition("label", ImageSpec(1, height=1, width=1, levels=3), optional=True)
RULE = Guided(strength=2.0, min_probability=0.1)
CASES = {
    "mixture": (ImageSpec(3, height=4, width=3, levels=5), logistic_mixture(2), False),
    "restricted mixture": (ImageSpec(3, height=3, width=4, levels=5), logistic_mixture(2), True),
    "restricted softmax": (ImageSpec(1, height=4, width=4, levels=6), chosen("head", "softmax"), True),
}

EXPECTED: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
"""The images of the formula, by case."""


def chain_of(image, head, *, restricted=False, condition=LABELS):
    """A chain of a pyramid view with random weights, whose factors are given a label."""
    torch.manual_seed(1)
    config = components.LightConfig(filters=4, blocks=1, head=head, dropout=0.0)
    view = PyramidView(PyramidConfig(2), image)
    features = components.embedding(components.EmbeddingConfig(3, 1, dropout=0.0), view.view, image)
    factors = []
    for spec, parts in ((image, {"view": view, "embedding": features, "restricted": restricted}), (view.view, {})):
        conditioning = Conditioning(
            condition, CategoriesEmbedding(condition.spec, spec, filters=3, blocks=0, dropout=0.0)
        )
        channels = conditioning.features_channels + (features.features_channels if parts else 0)
        network = components.light(config, spec, channels)
        factors.append(Factor(CausalDistribution(network), conditioning=conditioning, **parts))
    return randomized(Chain(factors), 1).eval()


def one_by_one(factor, request, own_condition, view=None):
    """The images of a request, by the formula of the rule for one sub-pixel after another."""
    image, count = factor.image, len(request.numbers)
    noise = request.uniforms(image.shape)
    drawn = torch.zeros(count, *image.shape, dtype=torch.int64)
    given = factor.given_view(view)
    for row in range(image.height):
        for column in range(image.width):
            for channel in range(image.channels):
                tables = []
                for condition in (own_condition, None):
                    features = factor.given(Values({"view1": view, "condition": condition}, count)).features
                    parameters = factor.distribution.parameters_of(drawn, features, given)
                    values = []
                    for value in range(image.levels):
                        drawn[:, channel, row, column] = value
                        nats = factor.network.head.channel_log_prob(parameters, drawn)
                        values.append(nats[:, channel, row, column].double())
                    tables.append(torch.stack(values, 1))
                own, null = (table.exp() for table in tables)
                if factor.restricted:
                    interval = given.interval(drawn)
                    low, high = (end[:, channel, row, column, None] for end in (interval.low, interval.high))
                    own = own * ((low <= torch.arange(image.levels)) & (torch.arange(image.levels) <= high))
                own = own * (own >= request.rule.min_probability * own.amax(1, keepdim=True))
                weights = own ** (1 + request.rule.strength) / null**request.rule.strength
                drawn[:, channel, row, column] = categorical.draw(noise[:, channel, row, column], weights.log())
    return drawn


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_values_are_drawn_from_the_formula(case, sampler):
    image, head, restricted = CASES[case]
    stage, prior = chain_of(image, head, restricted=restricted).factors
    condition = torch.tensor([0, 2, 1, 2, -1]).view(-1, 1, 1, 1)
    request = SampleRequest((3, 4, 5, 6, 7), seed=2, rule=RULE)
    if case not in EXPECTED:  # The formula is slow, and the same for all samplers.
        right = one_by_one(prior, request.deeper(), condition)
        EXPECTED[case] = right, one_by_one(stage, request, condition, right)
    given = Values({"condition": condition})
    view = prior.given(given).draw(request.deeper(), SAMPLERS[sampler])
    drawn = stage.given(given | {"view1": view}).draw(request, SAMPLERS[sampler])
    assert torch.equal(view, EXPECTED[case][0])
    assert torch.equal(drawn, EXPECTED[case][1])
    if restricted:
        assert torch.equal(stage.view_of(drawn), view)


def test_values_are_left_out_by_their_probability_given_the_condition():
    """Guidance makes the third value the most probable one, and the second one less probable than its limit."""
    given, null = torch.tensor([0.6, 0.1, 0.28, 0.02]).log(), torch.tensor([0.5, 0.37, 0.03, 0.1]).log()
    expected = torch.tensor([0.6**3 / 0.5**2, 0.1**3 / 0.37**2, 0.28**3 / 0.03**2, 0.0])
    rule = Guided(strength=2.0, min_probability=0.1).guidance(0)
    assert torch.allclose(rule(given, null).exp(), expected)
    assert torch.allclose(rule(given[None], null[None]).exp(), expected)


def test_without_strength_images_are_exact_samples():
    chain = chain_of(*CASES["restricted softmax"][:2], restricted=True)
    labels = Values({"condition": torch.ones(3, 1, 1, 1).long()})
    images = [
        chain.draw(SampleRequest((0, 1, 2), rule=rule), AutoSampler(), labels)["image"]
        for rule in (Guided(strength=0.0, min_probability=0.0), ByDepth(fine=Guided(0.0, 0.0)), Ancestral())
    ]
    assert torch.equal(images[0], images[2])
    assert torch.equal(images[1], images[2])


def test_known_pixels_are_kept():
    image, head, restricted = CASES["restricted mixture"]
    chain = chain_of(image, head, restricted=restricted)
    known = Known(random_images(4, image, seed=0), torch.rand(4, image.height, image.width) < 0.5)
    request = SampleRequest((0, 1, 2, 3), rule=RULE, known=known)
    labels = Values({"condition": torch.ones(4, 1, 1, 1).long()})
    drawn, view = chain.by_depth(chain.draw(request, AutoSampler(), labels))
    assert torch.equal(drawn.where(known.mask[:, None], 0), known.filled())
    assert torch.equal(chain.factors[0].view_of(drawn), view)


def test_the_rule_is_refused_without_the_null_condition():
    always = Condition("label", LABELS.spec)
    with pytest.raises(UserError, match="rule: the rule 'guided' needs a model with a condition that was trained with"):
        rule_effects.check_rule(chain_of(*CASES["mixture"][:2], condition=always), RULE)


def test_the_rule_is_a_rule():
    check_rule(RULE)
    assert "p(value | y)^3" in RULE.meaning
