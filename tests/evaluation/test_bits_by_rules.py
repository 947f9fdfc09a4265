"""Tests that likelihoods under a rule are those of the images that the rule draws."""

import math

import attrs
import pytest
import torch
from helpers.causal_networks import randomized
from helpers.chains import LIGHT, chain_of, pyramid
from helpers.evaluations import figures_of
from helpers.tiny_runs import run, tiny

from auxar.commands.evaluate import evaluate
from auxar.errors import UserError
from auxar.evaluation.stored import read_evaluation
from auxar.model import Adjustments, CausalDistribution, Chain, Factor, Head, ImageSpec, Rule, SampleRequest
from auxar.report.text import evaluation_lines
from auxar.testing.examples import all_images
from auxar.testing.frequencies import check_frequencies
from auxar_heads import softmax
from auxar_pixelcnn import components
from auxar_rules import Guided, Map, Reduced, Tempered
from auxar_samplers import AutoSampler

IMAGE = ImageSpec(1, height=2, width=2, levels=3)
COUNT = 20000


@attrs.frozen
class Halved(Rule):
    """A rule with an operation: all parameters of images are halved, and log-scales of views are reduced."""

    def adjustments(self, depth):
        return Adjustments(reduction=0.5 * depth)

    def operation(self, depth):
        return None if depth else lambda head, parameters: parameters / 2


def with_views():
    return randomized(chain_of(IMAGE, pyramid, restricted=True), 4)


def of_categories():
    config = attrs.evolve(LIGHT, head=softmax())
    return randomized(Chain([Factor(CausalDistribution(components.light(config, IMAGE)))]), 3)


@pytest.mark.parametrize(
    ("make", "rule"),
    [(with_views, Reduced(0.8, min_weight=0.6)), (with_views, Halved()), (of_categories, Tempered(0.3))],
    ids=["reduced", "operation", "tempered"],
)
def test_likelihoods_are_the_frequencies_of_drawn_images(make, rule):
    model, images = make().eval(), all_images(IMAGE)
    with torch.no_grad():
        itself, by_rule = model.log_prob(images), model.under(rule).at(2, 2).log_prob(images)
        drawn = model.draw(SampleRequest(tuple(range(COUNT)), rule=rule), AutoSampler())["image"]
        assert torch.equal(model.log_prob(images), itself), "the model is unchanged"
    assert abs(by_rule.exp().sum().item() - 1) < 1e-5
    assert (by_rule.exp() - itself.exp()).abs().max() > 0.01
    check_frequencies(drawn, images, by_rule, IMAGE.levels, "image")


class Unmeasured(Head):
    """A head without likelihoods under rules, which understands one adjustment."""

    parameter_count = uniform_count = 1
    understands = ("temperature",)

    def log_prob(self, parameters, image):
        return parameters[:, 0]

    def draw(self, parameters, uniforms, adjustments):
        return uniforms.long()


def test_a_head_of_a_plugin_says_which_likelihoods_it_has():
    head = Unmeasured()
    assert head.adjusted(Adjustments(reduction=0.5)) is head
    with pytest.raises(UserError, match=r"^Unmeasured gives no likelihoods with the adjustment 'temperature'$"):
        head.adjusted(Adjustments(temperature=0.5, reduction=0.5))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Map(), "stage0: only the centers of components are drawn, so most images have the probability 0"),
        (Guided(), "stage0: likelihoods of guided distributions are not computed"),
    ],
)
def test_rules_without_likelihoods_are_refused(rule, message):
    with pytest.raises(UserError) as error:
        with_views().under(rule)
    assert str(error.value) == message


def test_an_evaluation_has_them_if_a_rule_is_given(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures))
    before = read_evaluation(folder / "evaluation.safetensors")
    assert before.rule is None
    assert figures_of(folder)["rule"] is None
    evaluate(folder, rule="reduced:reduction=0.5,min_weight=0")
    found = read_evaluation(folder / "evaluation.safetensors")
    assert found.rule == "samples of the model, except that every predicted log-scale is lowered by 0.5"
    assert found.bits_per_dim() == before.bits_per_dim()
    difference = found.under_rule().value - found.bits_per_dim().value
    assert found.cost_of_rule().value == pytest.approx(difference)
    assert found.cost_of_rule("training", "prior").value != 0
    assert figures_of(folder)["rule"]["heldout"]["bits_per_dim"] == found.under_rule().value
    assert any(line.startswith("By a rule: ") for line in evaluation_lines(found))
    assert found.rule in (folder / "report.html").read_text()
    # The recipe's own evaluation, without the rule, comes back.
    run(folder, tiny(pictures))
    assert read_evaluation(folder / "evaluation.safetensors").rule is None


def test_a_rule_may_be_a_key_of_the_recipe(pictures, tmp_path):
    recipe = tiny(pictures, evaluation__rule={"name": "reduced", "reduction": 0.25})
    folder = run(tmp_path / "run", recipe, only=["prior"])
    found = read_evaluation(folder / "evaluation.safetensors")
    bits = found.under_rule("heldout", "prior").value
    assert bits is not None
    assert math.isfinite(bits)
    assert found.under_rule().value is None, "a factor is not trained"
    with pytest.raises(UserError, match=r"evaluation\.rule: the rule 'map' has no bits/dim: stage0: only the centers"):
        run(tmp_path / "other", tiny(pictures, evaluation__rule="map"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("map", "rule: the rule 'map' has no bits/dim: stage0: only the centers of components are drawn, so most "),
        ("reducd", "rule: no rule is named 'reducd'; did you mean 'reduced'?"),
        ("tempered", "rule: the rule 'tempered' changes nothing"),
        (7, 'rule: expected a component, "NAME"'),
    ],
)
def test_wrong_rules_are_refused_and_nothing_is_written(rule, message, pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures))
    before = (folder / "evaluation.safetensors").read_bytes()
    with pytest.raises(UserError) as error:
        evaluate(folder, rule=rule)
    assert str(error.value).startswith(message)
    assert (folder / "evaluation.safetensors").read_bytes() == before
