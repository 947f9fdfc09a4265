"""Tests that the check of optimizers accepts correct ones and names the law that a wrong one breaks."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch

from auxar.testing import ContractError, check_optimizer


@attrs.frozen
class Config:
    """Options of an optimizer."""

    rate: float = 0.1


def build(config: Config, network: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=config.rate, momentum=0.5)


def without_a_weight(config: Config, network: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(list(network.parameters())[1:], lr=config.rate)


def with_another_weight(config: Config, network: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([*network.parameters(), torch.nn.Parameter(torch.ones(1))], lr=config.rate)


def no_optimizer(config: Config, network: Any) -> Any:
    return network


class Forgetful(torch.optim.SGD):
    """It keeps momentum that is in no state."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr=lr)
        self.steps = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.steps += 1
        for group in self.param_groups:
            for weight in group["params"]:
                weight.sub_(weight.grad if weight.grad is not None else 0, alpha=group["lr"] / self.steps)


class Unstorable(torch.optim.SGD):
    """It has a set in its state."""

    def step(self, closure: Any = None) -> None:
        super().step()
        self.state[self.param_groups[0]["params"][0]]["set"] = {1, 2}


class Decaying(torch.optim.SGD):
    """It decays all weights, also those without a gradient, whatever the learning rate is."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        super().step()
        for group in self.param_groups:
            for weight in group["params"]:
                weight.mul_(0.999)


class Steadfast(torch.optim.SGD):
    """It does not read the learning rates of its parameter groups."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for weight in self.param_groups[0]["params"]:
            if weight.grad is not None:
                weight.sub_(weight.grad, alpha=0.1)


class Rising(torch.optim.SGD):
    """It follows the gradient upwards."""

    def step(self, closure: Any = None) -> None:
        for weight in self.param_groups[0]["params"]:
            if weight.grad is not None:
                weight.grad.neg_()
        super().step()


def test_a_correct_optimizer_is_accepted():
    check_optimizer(build, Config())


@pytest.mark.parametrize(
    ("wrong", "law"),
    [
        (without_a_weight, "weights"),
        (with_another_weight, "weights"),
        (no_optimizer, "runs"),
        (Forgetful, "resume"),
        (Unstorable, "resume"),
        (Decaying, "weights"),
        (Steadfast, "rates"),
        (Rising, "training"),
    ],
)
def test_the_law_that_a_wrong_optimizer_breaks_is_named(wrong, law):
    def made(config: Config, network: Any) -> Any:
        return wrong(network.parameters(), lr=config.rate) if isinstance(wrong, type) else wrong(config, network)

    with pytest.raises(ContractError) as caught:
        check_optimizer(made, Config())
    assert caught.value.law == law
