"""Tests that the check of optimizers accepts correct ones and names the law that a wrong one breaks."""

import pytest
import torch
from helpers.contract import breaks, cases, mutant
from torch.optim import SGD

from auxar.testing import check_optimizer


def weights(optimizer):
    return [weight for group in optimizer.param_groups for weight in group["params"]]


@torch.no_grad()
def forgetful(self, right):
    """Steps get shorter, as counted outside of the state."""
    self.steps = getattr(self, "steps", 0) + 1
    for weight in weights(self):
        weight.sub_(weight.grad if weight.grad is not None else 0, alpha=0.1 / self.steps)


def unstorable(self, right):
    right()
    self.state[weights(self)[0]]["set"] = {1, 2}


@torch.no_grad()
def decaying(self, right):
    """All weights decay, also those without a gradient, whatever the learning rate is."""
    right()
    for weight in weights(self):
        weight.mul_(0.999)


@torch.no_grad()
def steadfast(self, right):
    """The learning rates of the parameter groups are not read."""
    for weight in weights(self):
        if weight.grad is not None:
            weight.sub_(weight.grad, alpha=0.1)


def rising(self, right):
    for weight in weights(self):
        if weight.grad is not None:
            weight.grad.neg_()
    right()


def stepping(law, step):
    return law, mutant(SGD, step=step)


MUTANTS = {
    "without a weight": ("weights", lambda parameters, lr: SGD(list(parameters)[1:], lr)),
    "with another weight": (
        "weights",
        lambda parameters, lr: SGD([*parameters, torch.nn.Parameter(torch.ones(1))], lr),
    ),
    "no optimizer": ("runs", lambda parameters, lr: list(parameters)),
    "forgetful": stepping("resume", forgetful),
    "unstorable": stepping("resume", unstorable),
    "decaying": stepping("weights", decaying),
    "steadfast": stepping("rates", steadfast),
    "rising": stepping("training", rising),
}


def test_a_correct_optimizer_is_accepted():
    check_optimizer(lambda rate, network: SGD(network.parameters(), rate, momentum=0.5), 0.1)


@pytest.mark.parametrize(("law", "wrong"), cases(MUTANTS))
def test_the_law_that_a_wrong_optimizer_breaks_is_named(law, wrong):
    breaks(law, check_optimizer, lambda rate, network: wrong(network.parameters(), rate), 0.1)
