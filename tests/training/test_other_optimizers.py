"""Tests that optimizers of plugins train, and that their training resumes to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import call, command, metrics, run, same, stopping_after, stopping_at, tiny, weights, write

from auxar.errors import UserError
from auxar.training.averaging import WeightAverage

# A plugin file: an optimizer with two parameter groups and with state of its own.
PLUGIN = '''
import attrs
import torch

from auxar import Component, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class OddConfig:
    """An optimizer with state of its own."""

    learning_rate: float = 0.01
    without: str = ""


class Odd(torch.optim.Optimizer):
    def __init__(self, config, factor):
        named = [(name, weight) for name, weight in factor.named_parameters() if name != config.without]
        weights = [weight for name, weight in named if weight.dim() > 1]
        others = [weight for name, weight in named if weight.dim() <= 1]
        groups = [{"params": weights, "lr": config.learning_rate}, {"params": others, "lr": config.learning_rate / 4}]
        super().__init__(groups, {"steps": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["steps"] += 1
            for weight in group["params"]:
                if weight.grad is not None:
                    state = self.state[weight]
                    state["last"] = [*state.get("last", []), weight.grad.bfloat16()][-2:]
                    weight.sub_(sum(state["last"]).float().sign(), alpha=group["lr"] / group["steps"] ** 0.5)


@hookimpl
def auxar_register_components():
    return [Component("optimizer", "odd", OddConfig, Odd)]
'''


def table(pictures: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    (folder / "odd.py").write_text(PLUGIN)
    own = {"plugins": ["odd.py"], "training__optimizer": "odd", "training__schedule": "exponential:decay=0.5"}
    common = {"training__steps": 6, "training__checkpoint_every": 2, "sampling__images": 0}
    return tiny(pictures, **{**own, **common, **changes})


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    folder = tmp_path_factory.mktemp("odd")
    return run(folder / "run", table(pictures, folder))


def assert_same(first: Path, second: Path) -> None:
    for name in ("weights", "training"):
        assert same(weights(first, name), weights(second, name))
    assert metrics(first) == metrics(second)


def test_training_that_is_killed_or_asked_to_end_resumes_to_the_same_bits(pictures, whole, tmp_path):
    with stopping_after(3):  # The checkpoint of step 2 is the last one.
        run(tmp_path / "run", table(pictures, tmp_path))
    with stopping_at(WeightAverage, "update", 1, signaled=True):
        run(tmp_path / "run", table(pictures, tmp_path, training__checkpoint_every=100))
    assert [path.name for path in sorted((tmp_path / "run").glob("factors/prior/training*"))] == [
        "training-000000002.safetensors",
        "training-000000004.safetensors",
    ]
    run(tmp_path / "run", table(pictures, tmp_path))
    assert_same(tmp_path / "run", whole)


def test_each_group_keeps_its_rate_in_proportion_to_the_others(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = table(pictures, tmp_path, stage=None, training__steps=3)
    noting = """open("rates", "a").write(f"{group['lr']} "); group["steps"] += 1"""
    (tmp_path / "odd.py").write_text(PLUGIN.replace('group["steps"] += 1', noting))
    run(tmp_path / "run", recipe)
    expected = [rate * 0.5**step for step in range(3) for rate in (0.01, 0.0025)]
    assert [float(rate) for rate in (tmp_path / "rates").read_text().split()] == expected


@pytest.mark.slow
def test_training_by_two_processes_resumes_to_the_same_bits(pictures, tmp_path):
    recipe = write(tmp_path / "odd.toml", table(pictures, tmp_path, stage=None))
    for out, lengths in (("whole", [6]), ("parts", [3, 6])):
        for steps in lengths:
            settings = [f"training.steps={steps}", "training.schedule=constant"]
            arguments = ["run", recipe, "--out", tmp_path / out, "--trust-plugins", "--set", *settings]
            done = call(command(*arguments, processes=2), tmp_path)
            assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_an_optimizer_must_have_all_weights(pictures, tmp_path):
    optimizer = {"name": "odd", "without": "distribution.network.out.bias"}
    recipe = table(pictures, tmp_path, stage=None, training__optimizer=optimizer)
    with pytest.raises(UserError, match=r"optimizer 'odd': its build must give the optimizer all trainable weights of"):
        run(tmp_path / "run", recipe)
