"""Tests that the check of conditions names the law that a model with a condition breaks."""

from typing import Any

import pytest
import torch
from helpers.contract import before, breaks, cases, mutant, setting, then
from helpers.right_embedding import Features
from helpers.right_network import Net

from auxar.errors import UserError
from auxar.model import CausalDistribution, Chain, Condition, Conditioning, Factor, ImageSpec
from auxar.testing import check_conditions

IMAGE = ImageSpec(1, height=2, width=2, levels=2)
LABEL = ImageSpec(1, height=1, width=1, levels=5)


def chain(kind=Factor, embedding=Features, *, optional=False):
    """A model of images given a label, with a factor of the given class."""
    condition = Condition("label", LABEL, optional=optional)
    conditioning = Conditioning(condition, embedding(None, LABEL, IMAGE))
    model = Chain([Factor(CausalDistribution(Net(IMAGE, 2)), conditioning=conditioning)])
    model.factors[0].__class__ = kind  # A chain makes its factors again, at their depths.
    return model


def factor(law, **edits):
    return law, mutant(Factor, **edits)


def likely(change):
    """An edit of log-likelihoods that changes the condition."""
    return {"forward": before(values=lambda values: changed(values, change))}


def drawn(change):
    """An edit of draws, which get no images, that changes the condition."""
    return {
        "given": before(values=lambda values: values if "image" in values else changed(values, change)),
    }


def changed(values, change):
    return values if "condition" not in values else values | {"condition": change(values["condition"])}


def zeros_if_none(self, right, values):
    zeros = torch.zeros(len(values), 1, 1, 1, dtype=torch.int64)
    return right(values if "condition" in values else values | {"condition": zeros})


def of_one_channel(self, right, values):
    return right(changed(values, lambda condition: condition[:, :1]))


FAULTS = {
    "ignores its condition": factor("condition", **likely(torch.zeros_like)),
    "mixes conditions": factor("batch", **likely(lambda condition: condition.flip(0))),
    "unnormalized": factor("normalization", forward=then(lambda nats: nats * 1.01)),
    "takes any shape": factor("shape", forward=of_one_channel),
    "takes None": factor("null", forward=zeros_if_none),
    "draws for other conditions": factor("batch", **drawn(lambda condition: condition[:1].expand_as(condition))),
    "draws for one condition": factor("draws", **drawn(torch.zeros_like)),
}


@pytest.mark.parametrize(("law", "kind"), cases(FAULTS))
def test_the_law_that_a_wrong_factor_breaks_is_named(law, kind):
    breaks(law, check_conditions, chain(kind))


def test_none_must_be_the_null_condition():
    check_conditions(chain(optional=True))
    breaks("null", check_conditions, chain(FAULTS["takes None"][1], optional=True))


def test_every_parameter_of_an_embedding_gets_a_gradient():
    unused = mutant(Features, __init__=setting(spare=lambda self: torch.nn.Parameter(torch.zeros(1))))
    breaks("gradient", check_conditions, chain(embedding=unused))
    fixed = mutant(Features, __init__=setting(layer=lambda self: self.layer.requires_grad_(False)))
    check_conditions(chain(embedding=fixed))


def test_other_models_are_refused():
    plain: Any = Chain([Factor(CausalDistribution(Net(IMAGE, 0)))])
    for model, message in ((plain.factors[0], "expected a Chain"), (plain, "the model has no condition")):
        with pytest.raises(UserError, match=message):
            check_conditions(model)
