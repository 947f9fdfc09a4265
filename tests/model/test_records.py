"""Tests that records refuse a user's mistakes with messages that name the field, and that rules have defaults."""

import math
from typing import Any

import attrs
import numpy as np
import pytest

from auxar import model, plugins
from auxar.errors import UserError
from auxar.validation import at_most

# Their types are hidden from the type checker, because the tests pass values of other types.
DrawRule: Any = model.DrawRule
ImageSpec: Any = model.ImageSpec
Component: Any = plugins.Component
RULES = "(known: ancestral, map, reduced)"
KINDS = "(known: arithmetic, dataset, decoder, embedding, engine, head, model, network, prior, sampler, view)"


@attrs.frozen
class Config:
    """Options."""

    share: Any = attrs.field(default=0, validator=at_most(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DrawRule("ancestrel"), f"rule: 'ancestrel' is unknown; did you mean 'ancestral'? {RULES}"),
        (lambda: DrawRule(3), "rule: expected the name of a rule (ancestral, reduced, map), got 3"),
        (lambda: DrawRule(["map"]), "rule: expected the name of a rule (ancestral, reduced, map), got ['map']"),
        (lambda: DrawRule("map", 0.5), "reduction requires the rule 'reduced', got the rule 'map'"),
        (lambda: DrawRule("reduced", -0.5), "reduction must be at least 0, got -0.5"),
        (lambda: DrawRule("reduced", "much"), "reduction must be a finite number, got 'much'"),
        (lambda: DrawRule("reduced", math.inf), "reduction must be a finite number, got inf"),
        (lambda: DrawRule(reduction=None), "reduction must be a finite number, got None"),
        (lambda: DrawRule(temperature="hot"), "temperature must be a finite number, got 'hot'"),
        (lambda: DrawRule(temperature=math.nan), "temperature must be a finite number, got nan"),
        (lambda: DrawRule(temperature=math.inf), "temperature must be a finite number, got inf"),
        (lambda: DrawRule(temperature=10**400), "temperature must be a finite number, got ≈10^400"),
        (lambda: DrawRule(temperature=True), "temperature must be a finite number, got True"),
        (lambda: DrawRule(temperature=0), "temperature must be greater than 0, got 0"),
        (
            lambda: DrawRule(min_weight=0.1),
            "min_weight requires the rule 'reduced' or 'map', got the rule 'ancestral', which draws exact samples",
        ),
        (lambda: DrawRule("map", min_weight=1), "min_weight must be less than 1, got 1"),
        (lambda: DrawRule("map", min_weight=-0.1), "min_weight must be at least 0, got -0.1"),
        (lambda: DrawRule("map", min_weight=math.nan), "min_weight must be a finite number, got nan"),
        (lambda: ImageSpec(height="8", width=8), "height must be an integer, got '8'"),
        (lambda: ImageSpec(height=8, width=8.0), "width must be an integer, got 8.0"),
        (lambda: ImageSpec(height=8, width=math.nan), "width must be an integer, got nan"),
        (lambda: ImageSpec(height=8, width=0), "width must be greater than 0, got 0"),
        (lambda: ImageSpec(True, height=8, width=8), "channels must be an integer, got True"),
        (lambda: ImageSpec(4097, height=8, width=8), "channels must be at most 4096, got 4097"),
        (lambda: ImageSpec(height=8, width=8, levels=1), "levels must be at least 2, got 1"),
        (lambda: ImageSpec(height=8, width=8, levels=None), "levels must be an integer, got None"),
        (lambda: Config(math.nan), "share must be at most 1, got nan"),
        (lambda: Config("1"), "share must be at most 1, got '1'"),
        (lambda: Component("vew", "x", Config, Config), f"kind: 'vew' is unknown; did you mean 'view'? {KINDS}"),
        (lambda: Component(3, "x", Config, Config), "kind: expected the name of a kind (view, network, "),
        (lambda: Component("view", None, Config, Config), "name: expected a name that recipes can use, got None"),
        (lambda: Component("view", "x", Config(), Config), "config must be an attrs class, got Config(share=0)"),
        (lambda: Component("view", "x", Config, None), "build must be a function or a class, got None"),
    ],
)
def test_mistakes_are_user_errors_that_name_the_field(make, message):
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert message.startswith("kind: expected") or str(caught.value) == message


def test_the_numbers_of_numpy_are_numbers():
    assert ImageSpec(height=np.int64(8), width=8) == ImageSpec(height=8, width=8)
    assert DrawRule("reduced", np.float32(0.5)) == DrawRule("reduced", 0.5)


def test_only_reduced_has_a_reduction_by_default():
    assert [DrawRule(name).reduction for name in ("ancestral", "reduced", "map")] == [0.0, 0.4, 0.0]
    exact = DrawRule("reduced", reduction=0)
    assert (exact.reduction, exact.meaning) == (0, DrawRule().meaning)
    meaning = DrawRule("reduced", min_weight=0).meaning
    assert meaning.endswith("samples of the model, except that every predicted log-scale is lowered by 0.4")


def test_rules_that_are_not_exact_leave_out_light_components_by_default():
    rules = [DrawRule("ancestral"), DrawRule("reduced", reduction=0), DrawRule("reduced"), DrawRule("map")]
    assert [rule.min_weight for rule in rules] == [0.0, 0.0, 0.05, 0.05]
    left_out = "mixture components of less than 0.05 times the heaviest one's weight are not drawn"
    assert [left_out in rule.meaning for rule in rules] == [False, False, True, True]
    alone = DrawRule("reduced", reduction=0, min_weight=0.05).meaning
    assert alone == f"samples of the model, except that {left_out}"
    lowered = "every predicted log-scale is lowered by 0.4, every predicted logit of a value is divided by 2"
    assert DrawRule("reduced", temperature=2).meaning == f"samples of the model, except that {lowered} and {left_out}"
