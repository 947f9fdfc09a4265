"""Tests that optimizers of plugins may have parameter groups, each with a learning rate of its own."""

from __future__ import annotations

from helpers.tiny_runs import run, stopping_after, tiny

# A plugin file: an optimizer with two parameter groups, whose learning rates it notes in each step.
PLUGIN = '''
import attrs
import torch

from auxar import Component, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class NotingConfig:
    """Two groups."""

    learning_rate: float = 0.01


class Noting(torch.optim.SGD):
    def __init__(self, config, factor):
        first, *others = factor.parameters()
        rates = config.learning_rate, config.learning_rate / 4
        super().__init__([{"params": own, "lr": rate} for own, rate in zip(([first], others), rates)], momentum=0.9)

    def step(self, closure=None):
        open("rates", "a").write(" ".join(str(group["lr"]) for group in self.param_groups) + "\\n")
        super().step(closure)


@hookimpl
def auxar_register_components():
    return [Component("optimizer", "noting", NotingConfig, Noting)]
'''


def test_each_group_keeps_its_rate_in_proportion_to_the_others(pictures, tmp_path, monkeypatch):
    """The training is killed in its third step, which is made again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noting.py").write_text(PLUGIN)
    own = {"plugins": ["noting.py"], "training__optimizer": "noting", "training__schedule": "exponential:decay=0.5"}
    table = tiny(pictures, **own, stage=None, training__checkpoint_every=1)
    with stopping_after(2):
        run(tmp_path / "run", table)
    run(tmp_path / "run", table)
    expected = [f"{0.01 * 0.5**step} {0.0025 * 0.5**step}" for step in (0, 1, 2, 2, 3)]
    assert (tmp_path / "rates").read_text().splitlines() == expected
