"""Tests of what rules change, by depth and by operations of their own, and that rules without an effect are refused."""

import logging
from typing import Any

import attrs
import pytest
import torch
from helpers.causal_networks import needs_native
from helpers.choices import chosen
from helpers.right_network import Net

from auxar.draw.figures import captions_of
from auxar.draw.image_model import ImageModel
from auxar.draw.plan import plan_of
from auxar.errors import UserError
from auxar.model import (
    Adjusted,
    Adjustments,
    Ancestral,
    CausalDistribution,
    Chain,
    DrawSource,
    Embedding,
    Factor,
    ImageSpec,
    Rule,
    SampleRequest,
    Values,
)
from auxar.model.rule_effects import check_rule
from auxar.recipe import SamplingConfig
from auxar.testing.examples import randomized
from auxar_heads import logistic_mixture
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn.components import LightConfig, light
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_rules import ByDepth, Map, Reduced, Tempered
from auxar_samplers import RasterSampler, WavefrontSampler

IMAGE = ImageSpec(1, height=4, width=4, levels=4)
COLOR = ImageSpec(3, height=6, width=5)
VIEW = PyramidView(PyramidConfig(factor=2), IMAGE)


class Enlarged(Embedding):
    """Features that are the view itself, enlarged."""

    view, image, features_channels = VIEW.view, IMAGE, 1

    def forward(self, view):
        return view.float().repeat_interleave(2, 2).repeat_interleave(2, 3)


class Undeclared(SoftmaxHead):
    understands = None


def mixture(image):
    return LogisticMixtureHead(image, 2)


def model(decoder_head, prior_head):
    """A chain of one stage and a prior with these heads."""
    torch.manual_seed(0)
    decoder = CausalDistribution(Net(IMAGE, 1, decoder_head(IMAGE)))
    chain = Chain(
        [
            Factor(decoder, view=VIEW, embedding=Enlarged()),
            Factor(CausalDistribution(Net(VIEW.view, 0, prior_head(VIEW.view)))),
        ]
    )
    chain.sampler = RasterSampler()
    return chain


HEAVY = Adjusted(Adjustments(min_weight=0.1))


class Earlier(LogisticMixtureHead):
    """A head of a plugin that does not know `min_weight`."""

    def __init__(self, image):
        super().__init__(image, 2)
        self.understands = ("reduction", "centers")


@attrs.frozen
class Doubled(Rule):
    """A rule with an operation of its own at depth 0: it doubles the parameters of heads."""

    def adjustments(self, depth):
        return Adjustments()

    def operation(self, depth):
        return None if depth else lambda head, parameters: 2 * parameters


class Everywhere(Doubled):
    """A rule with the operation at all depths."""

    def operation(self, depth):
        return Doubled.operation(self, 0)


@attrs.frozen
class Captioned(Reduced):
    """A rule with any result of `changes`."""

    found: Any = ()

    def changes(self):
        return self.found


@pytest.mark.parametrize("found", [3, None, "text", [3]])
def test_a_rule_whose_changes_are_no_texts_is_refused(found):
    expected = r"^rule: `changes` of the rule 'captioned' must give a list of strings, got "
    with pytest.raises(UserError, match=expected):
        ImageModel(model(mixture, mixture)).sample(1, rule=Captioned(found=found))


def single(image):
    return LogisticMixtureHead(image, 1)


@pytest.mark.parametrize(
    ("head", "rule", "kind"),
    [
        (mixture, Tempered(0.5), "logistic mixture"),
        (mixture, ByDepth(Ancestral(), Tempered()), "logistic mixture"),
        (SoftmaxHead, Map(), "softmax"),
        (SoftmaxHead, Reduced(), "softmax"),
        (single, HEAVY, "logistic mixture"),
    ],
)
def test_a_rule_that_no_head_understands_is_refused(head, rule, kind):
    start = f"rule: the rule '{rule.name}' changes nothing: the heads of this model are {kind} heads, which understand "
    with pytest.raises(UserError, match=f"^{start}.*; use another rule, such as 'ancestral'$"):
        ImageModel(model(head, head)).sample(1, rule=rule)


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (mixture, Ancestral()),
        (mixture, Reduced()),
        (mixture, Map()),
        (mixture, HEAVY),
        (mixture, Reduced(0, min_weight=0)),
        (mixture, ByDepth()),
        (SoftmaxHead, Ancestral()),
        (SoftmaxHead, Reduced(0, min_weight=0)),
        (SoftmaxHead, Tempered(0.5)),
        (SoftmaxHead, Doubled()),
        (Undeclared, Adjusted(Adjustments(centers=True, temperature=0.5, min_weight=0.1))),
    ],
)
def test_other_rules_are_accepted_without_a_message(head, rule, caplog):
    caplog.set_level(logging.INFO)
    check_rule(model(head, head), rule)
    assert not caplog.messages


@pytest.mark.parametrize("head", [single, Earlier])
def test_an_adjustment_that_no_head_understands_is_logged_if_another_one_is_understood(head, caplog):
    caplog.set_level(logging.INFO)
    check_rule(model(head, head), Map())
    assert caplog.messages == [
        "the adjustment 'min_weight' of the rule 'map' changes nothing: the heads are "
        f"{'earlier' if head is Earlier else 'logistic mixture'} heads, which understand only reduction, centers"
    ]


def test_an_adjustment_that_some_factors_do_not_understand_is_logged(caplog):
    caplog.set_level(logging.INFO)
    mixed = model(mixture, SoftmaxHead)
    check_rule(mixed, Adjusted(Adjustments(centers=True, temperature=0.5)))
    check_rule(mixed, ByDepth(Map(), Tempered()))  # Each head gets what it understands.
    assert caplog.messages == [
        "the adjustment 'centers' of the rule 'adjusted' changes nothing in prior: the heads are softmax heads, which "
        "understand only temperature",
        "the adjustment 'temperature' of the rule 'adjusted' changes nothing in stage0: the heads are logistic mixture "
        "heads, which understand only reduction, centers, min_weight",
    ]


def test_only_the_heads_of_drawn_factors_count():
    """The prior of this model draws nothing if a view is given."""
    mixed = model(mixture, SoftmaxHead)
    check_rule(mixed, Map(), from_depth=1)
    with pytest.raises(
        UserError, match=r"^--rule: the rule 'tempered' changes nothing: the heads of the factors that "
    ):
        check_rule(mixed, Tempered(), from_depth=1, key="--rule")


def test_a_rule_by_depth_draws_each_depth_by_its_own_rule():
    chain = model(mixture, mixture)
    numbers, sampler = (0, 1, 2, 3), RasterSampler()
    pairs = [(Map(0), Ancestral()), (Ancestral(), Reduced(5.0)), (Doubled(), Map()), (Map(0), Everywhere())]
    for fine, coarse in pairs:
        rule = ByDepth(fine, coarse)
        image, view = chain.by_depth(chain.draw(SampleRequest(numbers, 3, rule), sampler))
        assert torch.equal(view, chain.draw(SampleRequest(numbers, 3, coarse), sampler)["view1"])
        given = Values({"view1": view})
        assert torch.equal(image, chain.draw(SampleRequest(numbers, 3, fine), sampler, given)["image"])
        assert not torch.equal(image, chain.draw(SampleRequest(numbers, 3, coarse), sampler, given)["image"])
        deeper = ByDepth(fine, coarse, depth=2)
        found = chain.draw(SampleRequest(numbers, 3, deeper), sampler)
        assert torch.equal(found["view1"], chain.draw(SampleRequest(numbers, 3, fine), sampler)["view1"])


def test_a_rule_by_depth_says_what_it_changes_where():
    lowered = "every predicted log-scale is lowered by 0.5"
    center = "every pixel with a mixture is the center of a drawn component"
    rule = ByDepth(Map(0), Reduced(0.5, min_weight=0), depth=2)
    assert rule.meaning == (
        f"samples of the model, except that at depths 0 to 1 {center} and from depth 2 on {lowered}"
    )
    assert ByDepth(Ancestral(), Ancestral()).meaning == Ancestral().meaning == "exact samples of the model"
    assert ByDepth(Map(0)).meaning.endswith(f"at depth 0 {center}")


@pytest.mark.parametrize("engine", ["torch", pytest.param("native", marks=needs_native)])
def test_an_operation_of_a_rule_acts_on_the_parameters_of_heads(engine):
    """Both engines draw like a head that doubles its parameters."""
    network = randomized(light(LightConfig(filters=4, blocks=1, head=logistic_mixture(2)), COLOR), 0, 0.5)
    request = SampleRequest((0, 1, 2), 7)
    source = DrawSource.of(network, request)

    class Twice(LogisticMixtureHead):
        def draw(self, parameters, uniforms, adjustments):
            return super().draw(2 * parameters, uniforms, adjustments)

    expected = RasterSampler().sample(network, None, attrs.evolve(source, head=Twice(COLOR, 2, centered=True)))
    doubled = DrawSource.of(network, attrs.evolve(request, rule=Doubled()))
    found = WavefrontSampler(engine).sample(network, None, doubled)
    assert torch.equal(found, expected)
    assert not torch.equal(found, RasterSampler().sample(network, None, source))


def test_integers_refuse_a_rule_with_an_operation():
    network = Net(IMAGE, 0, mixture(IMAGE).integer_head())
    with pytest.raises(UserError, match="the rule 'doubled' computes with floating-point "):
        DrawSource.of(network, SampleRequest((0,), rule=Doubled()))
    chain = model(mixture, mixture)
    with pytest.raises(UserError, match="the rule 'by_depth' computes with floating-point"):
        check_rule(chain, ByDepth(Doubled(), Ancestral()), "integer")
    check_rule(chain, ByDepth(Ancestral(), Doubled(), depth=2), "integer", from_depth=1)


def test_figures_of_a_rule_name_the_factors_that_it_does_not_affect():
    def captions(prior_head):
        chain = model(mixture, prior_head)
        return captions_of(chain, plan_of(chain, None, range(1), sampler=RasterSampler()), "ancestral")

    for name in ("reduction", "map"):
        assert captions(SoftmaxHead)[name].endswith(". Unaffected: prior (softmax heads). Seed 0.")
        assert "Unaffected" not in captions(mixture)[name]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (chosen("rule", "ancestral"), 0.05),
        (chosen("rule", "map"), 0.05),
        (chosen("rule", "map", min_weight=0.2), 0.2),
        (chosen("rule", "map", min_weight=0.0), 0),
        (chosen("rule", "reduced", reduction=0.0, min_weight=0.0), 0.05),
        (chosen("rule", "reduced", reduction=0.0, min_weight=0.25), 0.25),
    ],
)
def test_figures_of_rules_leave_out_the_components_that_the_recipe_leaves_out(rule, expected):
    chain, config = model(mixture, mixture), SamplingConfig(rule=rule)
    plan = plan_of(chain, None, range(1), rule=config.draw_rule(), sampler=RasterSampler())
    found = captions_of(chain, plan, config.rule.name)
    sentence = f"components of less than {expected:g} times the heaviest one's weight are not drawn."
    assert (f"Mixture {sentence}" in found["map"]) == (f"Except in column 0, mixture {sentence}" in found["reduction"])
    assert ("components of less" in found["map"]) == (expected > 0)
