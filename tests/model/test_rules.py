"""Tests that options of rules which change nothing are refused or logged, and that `sample` refuses wrong arguments."""

import logging

import pytest
import torch
from helpers.right_network import Net

from auxar.data import Examples
from auxar.errors import UserError
from auxar.generation.figures import Figures
from auxar.model import CausalDistribution, Chain, DrawRule, Embedding, Factor, ImageSpec, Known
from auxar.model.rules import IN_RECIPE, Spelling, check_rule
from auxar.recipe import SamplingConfig
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers import RasterSampler

IMAGE = ImageSpec(1, height=4, width=4, levels=4)
VIEW = PyramidView(PyramidConfig(factor=2), IMAGE)


class Enlarged(Embedding):
    """Features that are the view itself, enlarged."""

    view, image, features_channels = VIEW.view, IMAGE, 1

    def forward(self, view):
        return view.float().repeat_interleave(2, 2).repeat_interleave(2, 3)


class Undeclared(SoftmaxHead):
    rule_options = None


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


MIXTURES = "the heads of this model are logistic mixture heads, which have no temperature"
NO_CENTERS = "the heads of this model are softmax heads, which have no components with centers"
NO_SCALES = "the heads of this model are softmax heads, which have no scales to reduce"
HEAVY = DrawRule("reduced", reduction=0, min_weight=0.1)
"""A rule with no option but `min_weight`."""


class Earlier(LogisticMixtureHead):
    """A head of a plugin that does not know `min_weight`."""

    def __init__(self, image):
        super().__init__(image, 2)
        self.rule_options = ("reduction", "map")


def single(image):
    return LogisticMixtureHead(image, 1)


@pytest.mark.parametrize(
    ("head", "rule", "message"),
    [
        (
            mixture,
            DrawRule(temperature=0.5),
            f"temperature=0.5 changes nothing: {MIXTURES}; use temperature=1, for example with rule='reduced' or "
            "rule='map'",
        ),
        (
            mixture,
            DrawRule("map", temperature=0.5),
            f"temperature=0.5 changes nothing: {MIXTURES}; use temperature=1, for example with rule='reduced' or "
            "rule='map'",
        ),
        (
            SoftmaxHead,
            DrawRule("map"),
            f"rule='map' changes nothing: {NO_CENTERS}; use rule='ancestral', for example with temperature=0.8",
        ),
        (
            SoftmaxHead,
            DrawRule("reduced"),
            f"rule='reduced' changes nothing: {NO_SCALES}; use rule='ancestral', for example with temperature=0.8",
        ),
        (
            SoftmaxHead,
            HEAVY,
            "min_weight=0.1 changes nothing: the heads of this model are softmax heads, which have no components to "
            "leave out; use min_weight=0, for example with temperature=0.8",
        ),
        (
            single,
            DrawRule("map", min_weight=0.1),
            "min_weight=0.1 changes nothing: the heads of this model are logistic mixture heads, which have no "
            "components to leave out; use min_weight=0, for example with rule='reduced' or rule='map'",
        ),
    ],
)
def test_an_option_that_no_head_uses_is_refused(head, rule, message):
    with pytest.raises(UserError) as caught:
        model(head, head).sample(1, rule=rule)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (mixture, "ancestral"),
        (mixture, "reduced"),
        (mixture, "map"),
        (mixture, DrawRule("reduced", reduction=0)),
        (SoftmaxHead, "ancestral"),
        (SoftmaxHead, DrawRule("reduced", reduction=0)),
        (SoftmaxHead, DrawRule(temperature=0.5)),
        (mixture, HEAVY),
        (single, "map"),
        (Earlier, "map"),
        (Earlier, "reduced"),
        (Undeclared, DrawRule("map", temperature=0.5, min_weight=0.1)),
    ],
)
def test_other_rules_are_accepted_without_a_message(head, rule, caplog):
    caplog.set_level(logging.INFO)
    check_rule(model(head, head), rule if isinstance(rule, DrawRule) else DrawRule(rule))
    assert not caplog.messages


def test_an_option_that_some_factors_do_not_use_is_logged(caplog):
    caplog.set_level(logging.INFO)
    mixed = model(mixture, SoftmaxHead)
    check_rule(mixed, DrawRule("map", temperature=0.5), spelling=IN_RECIPE)
    assert caplog.messages == [
        "sampling.rule = 'map' changes nothing in prior: the heads are softmax heads, which have no components with "
        "centers",
        "sampling.temperature = 0.5 changes nothing in stage0: the heads are logistic mixture heads, which have no "
        "temperature",
    ]


def test_figures_of_a_rule_name_the_factors_that_it_does_not_affect():
    def captions(prior_head):
        chain = model(mixture, prior_head)
        heldout = torch.zeros(1, *IMAGE.shape, dtype=torch.int64)
        figures = Figures(chain, RasterSampler(), SamplingConfig(), 1, Examples(heldout), None, False)
        return {figure.name: figure.caption for figure in figures.all()}

    for name in ("reduction", "map"):
        assert captions(SoftmaxHead)[name].endswith(". Unaffected: prior (softmax heads). Seed 0.")
        assert "Unaffected" not in captions(mixture)[name]


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (SamplingConfig(), 0.05),
        (SamplingConfig(rule="map"), 0.05),
        (SamplingConfig(rule="reduced", reduction=0), 0.05),
        (SamplingConfig(rule="map", min_weight=0.2), 0.2),
        (SamplingConfig(rule="map", min_weight=0), 0),
    ],
)
def test_figures_of_rules_leave_out_the_components_that_the_recipe_leaves_out(sampling, expected):
    heldout = torch.zeros(1, *IMAGE.shape, dtype=torch.int64)
    figures = Figures(model(mixture, mixture), RasterSampler(), sampling, 1, Examples(heldout), None, False)
    assert figures.min_weight == expected
    found = {figure.name: figure.caption for figure in figures.all()}
    sentence = f"components of less than {expected:g} times the heaviest one's weight are not drawn."
    assert (f"Mixture {sentence}" in found["map"]) == (f"Except in column 0, mixture {sentence}" in found["reduction"])
    assert ("components of less" in found["map"]) == (expected > 0)


def test_only_the_heads_of_drawn_factors_count():
    """The prior of this model draws nothing if a view is given."""
    mixed = model(mixture, SoftmaxHead)
    check_rule(mixed, DrawRule("map", min_weight=0.1), from_depth=1)
    with pytest.raises(UserError) as caught:
        check_rule(mixed, DrawRule(temperature=0.5), from_depth=1, spelling=Spelling("--{0} {1}"))
    assert str(caught.value) == (
        "--temperature 0.5 changes nothing: the heads of the factors that are drawn are logistic mixture heads, which "
        "have no temperature; use --temperature 1, for example with --rule reduced or --rule map"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": -1}, "count: expected an integer of at least 0, got -1 (int)"),
        ({"count": 1.5}, "count: expected an integer of at least 0, got 1.5 (float)"),
        ({"seed": "0"}, "seed: expected an integer, got '0'"),
        ({"seed": 0.5}, "seed: expected an integer, got 0.5 (float)"),
        ({"first": -1}, "first: expected an integer of at least 0, got -1 (int)"),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1, got 0 (int)"),
        ({"batch_size": None}, "batch_size: expected an integer of at least 1, got None"),
        ({"rule": 3}, "rule: expected the name of a rule (ancestral, reduced, map), got 3"),
        (
            {"rule": "ancestrel"},
            "rule: 'ancestrel' is unknown; did you mean 'ancestral'? (known: ancestral, map, reduced)",
        ),
        (
            {"known": torch.zeros(1, 1, 4, 4)},
            "known: expected a Known with values and a mask, got an object of type Tensor",
        ),
    ],
)
def test_wrong_arguments_of_sample_are_user_errors(arguments, message):
    with pytest.raises(UserError) as caught:
        model(mixture, mixture).sample(**{"count": 1, **arguments})
    assert str(caught.value) == message


def test_sample_takes_a_seed_of_any_sign_and_known_pixels():
    chain = model(mixture, mixture)
    values, mask = torch.full((1, *IMAGE.shape), 3), torch.ones(1, 4, 4, dtype=torch.bool)
    assert torch.equal(chain.sample(1, seed=-(10**20), known=Known(values, mask)), values)
