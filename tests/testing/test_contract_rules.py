"""Tests that the check of rules accepts correct ones and names the law that a wrong one breaks."""

from typing import Any

import attrs
import pytest
import torch
from helpers.contract import breaks

from auxar import Adjusted, Adjustments, ImageSpec, Rule
from auxar.testing import check_rule
from auxar_heads.softmax import SoftmaxHead

NOTHING: Any = None
HEAD = SoftmaxHead(ImageSpec(3, height=1, width=1, levels=4))


@attrs.frozen
class Operating(Rule):
    """A rule with an operation that doubles parameters, or with another one."""

    how: object = staticmethod(lambda head, parameters: 2 * parameters)
    said: Any = ("parameters are doubled",)

    def adjustments(self, depth):
        return Adjustments()

    def operation(self, depth):
        return self.how

    def changes(self):
        return self.said


class Alternating(Operating):
    def adjustments(self, depth):
        return Adjustments(temperature=1 + torch.rand(()).item())


class Deep(Rule):
    """A rule whose captions leave out what it changes at depth 1."""

    def adjustments(self, depth):
        return Adjustments(temperature=2.0 if depth == 1 else 1.0)


SILENT = type("Silent", (Deep,), {"changes": lambda self: ()})()


def test_an_operation_is_checked_with_heads():
    check_rule(Operating(), HEAD)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Operating(), "operation: the rule has an operation; give check_rule heads"),
        (Alternating(), "state: a rule draws from or seeds"),
        (Deep(), "meaning: usual captions leave out operations, guidance and other depths than 0; write the method"),
        (SILENT, "meaning: the rule does not draw exact samples, but its captions say: exact"),
        (Operating(None, ("nothing",)), "meaning: the rule draws exact samples, but its captions say: samples of"),
        (Operating(None, "doubled"), "meaning: changes must return a list of texts, got 'doubled'"),
        (Adjusted(NOTHING), "adjustments: expected Adjustments that are equal for equal depths, got None"),
    ],
)
def test_a_wrong_rule_is_caught(rule, message):
    assert message in breaks(message.split(":")[0], check_rule, rule)


@pytest.mark.parametrize(
    ("law", "how"),
    [
        ("operation", lambda head, parameters: parameters.float()),
        ("operation", lambda head, parameters: parameters * torch.nan),
        ("operation", lambda head, parameters: parameters - torch.inf),
        ("batch", lambda head, parameters: parameters - parameters.mean(0)),
    ],
)
def test_a_wrong_operation_is_caught(law, how):
    breaks(law, check_rule, Operating(how), HEAD)


class Guiding(Operating):
    """A rule with a guidance."""

    def operation(self, depth):
        return None

    def guidance(self, depth):
        return self.how


@pytest.mark.parametrize(
    ("law", "how"),
    [
        ("guidance", lambda given, null: given[:, :-1]),
        ("guidance", lambda given, null: (given - null) * torch.nan),
        ("guidance", lambda given, null: given.where(~given.isfinite(), -torch.inf)),
        ("batch", lambda given, null: given - null.mean(0)),
        ("inputs", lambda given, null: given.sub_(null)),
    ],
)
def test_a_wrong_guidance_is_caught(law, how):
    breaks(law, check_rule, Guiding(how))
