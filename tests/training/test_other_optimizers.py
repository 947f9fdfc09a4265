"""Tests that optimizers of plugins may have parameter groups, each with a learning rate of its own."""

from typing import Any

import attrs
import torch
from helpers.installed import install_components
from helpers.tiny_runs import run, stopping_after, tiny
from torch import nn

from auxar import Component


@attrs.frozen
class NotingConfig:
    """Two groups."""

    learning_rate: float = 0.01


def test_each_group_keeps_its_rate_in_proportion_to_the_others(pictures, tmp_path, monkeypatch):
    """The training is killed in its third step, which is made again."""
    rates: list[list[float]] = []

    class Noting(torch.optim.SGD):
        """An optimizer with two parameter groups, whose learning rates it notes in each step."""

        def __init__(self, config: NotingConfig, factor: nn.Module) -> None:
            first, *others = factor.parameters()
            groups = {"params": [first]}, {"params": others, "lr": config.learning_rate / 4}
            super().__init__(groups, config.learning_rate, momentum=0.9)

        def step(self, closure: Any = None) -> None:
            rates.append([group["lr"] for group in self.param_groups])
            super().step(closure)

    install_components(monkeypatch, Component("optimizer", "noting", NotingConfig, Noting))
    own = {"training__optimizer": "noting", "training__schedule": "exponential:decay=0.5"}
    table = tiny(pictures, **own, stage=None, training__checkpoint_every=1)
    with stopping_after(2):
        run(tmp_path / "run", table)
    run(tmp_path / "run", table)
    assert rates == [[0.01 * 0.5**step, 0.0025 * 0.5**step] for step in (0, 1, 2, 2, 3)]
