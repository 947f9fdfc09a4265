"""Tests that optimizers and schedules of plugins train, and that their training resumes to the same bits."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import call, command, metrics, run, same, stopping_after, tiny, weights, write

from auxar.errors import UserError
from auxar.training.averaging import WeightAverage
from auxar.work.signals import Interrupted, requests

# A plugin file: an optimizer with two parameter groups and with state of many kinds, and a schedule.
PLUGIN = '''
import attrs
import torch

from auxar import Component, Schedule, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class OddConfig:
    """An optimizer with state of many kinds."""

    learning_rate: float = 0.01
    without: str = ""


class Odd(torch.optim.Optimizer):
    def __init__(self, config, factor):
        named = [(name, weight) for name, weight in factor.named_parameters() if name != config.without]
        weights = [weight for name, weight in named if weight.dim() > 1]
        others = [weight for name, weight in named if weight.dim() <= 1]
        groups = [{"params": weights, "lr": config.learning_rate}, {"params": others, "lr": config.learning_rate / 4}]
        super().__init__(groups, {"steps": 0, "kind": torch.float32})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["steps"] += 1
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state.update(mean=torch.zeros_like(weight, dtype=torch.bfloat16), last=[], best=float("inf"))
                    state["seen"] = {"signs": torch.zeros(weight.shape, dtype=torch.int64)}
                state["mean"].lerp_(weight.grad.bfloat16(), 0.5)
                state["seen"]["signs"] += weight.grad.sign().long()
                state["last"] = [*state["last"], weight.grad.T if weight.dim() == 2 else weight.grad.clone()][-2:]
                state["best"] = min(state["best"], float(weight.grad.norm()))
                update = state["mean"].float() + 0.1 * state["seen"]["signs"].sign() * min(state["best"], 1.0)
                update += 0.1 * sum(last.T if last.dim() == 2 else last for last in state["last"])
                weight.sub_(update, alpha=group["lr"] / group["steps"] ** 0.5)


@attrs.frozen
class Falling(Schedule):
    """A learning rate that falls in proportion to the number of the step."""

    def rates(self, rate, steps):
        for step in range(steps):
            yield rate / (1 + step)


@hookimpl
def auxar_register_components():
    return [Component("optimizer", "odd", OddConfig, Odd), Component("schedule", "falling", Falling)]
'''


def table(pictures: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    (folder / "odd.py").write_text(PLUGIN)
    own = {"plugins": ["odd.py"], "training__optimizer": "odd", "training__schedule": "falling"}
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


def test_training_that_is_killed_or_asked_to_end_resumes_to_the_same_bits(pictures, whole, tmp_path, monkeypatch):
    with stopping_after(3):  # The checkpoint of step 2 is the last one.
        run(tmp_path / "run", table(pictures, tmp_path))
    update = WeightAverage.update

    def ending(average: WeightAverage) -> None:
        update(average)
        requests.add(Interrupted.by_signal(signal.SIGTERM))

    with monkeypatch.context() as patch:
        patch.setattr(WeightAverage, "update", ending)
        with pytest.raises(Interrupted):
            run(tmp_path / "run", table(pictures, tmp_path, training__checkpoint_every=100))
    assert [path.name for path in sorted((tmp_path / "run").glob("factors/prior/training*"))] == [
        "training-000000002.safetensors",
        "training-000000004.safetensors",
    ]
    run(tmp_path / "run", table(pictures, tmp_path))
    assert_same(tmp_path / "run", whole)


def test_every_group_has_the_schedule_and_metrics_show_the_first(whole):
    rates = [line["learning_rate"] for line in metrics(whole) if line["factor"] == "prior"]
    assert rates == [0.01 / (1 + step) for step in range(6)]


def test_each_group_keeps_its_rate_in_proportion_to_the_others(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = table(pictures, tmp_path, stage=None, training__steps=3)
    noting = """open("rates", "a").write(f"{group['lr']} "); group["steps"] += 1"""
    (tmp_path / "odd.py").write_text(PLUGIN.replace('group["steps"] += 1', noting))
    run(tmp_path / "run", recipe)
    expected = [rate / (1 + step) for step in range(3) for rate in (0.01, 0.0025)]
    assert [float(rate) for rate in (tmp_path / "rates").read_text().split()] == expected


def test_a_trained_factor_is_trained_further(pictures, tmp_path):
    changes = {"training__schedule": "constant", "stage": None}
    run(tmp_path / "run", table(pictures, tmp_path, **changes, training__steps=3))
    run(tmp_path / "run", table(pictures, tmp_path, **changes))
    assert_same(tmp_path / "run", run(tmp_path / "whole", table(pictures, tmp_path, **changes)))


def test_a_state_that_cannot_be_stored_is_refused_after_the_first_step(pictures, tmp_path):
    recipe = table(pictures, tmp_path)
    plugin = tmp_path / "odd.py"
    plugin.write_text(PLUGIN.replace('best=float("inf")', 'best=float("inf"), names={"a"}'))
    with pytest.raises(UserError, match=r"the optimizer 'odd' has .* in its state at 0\.names; "):
        run(tmp_path / "run", recipe)
    assert not [line for line in metrics(tmp_path / "run") if line["step"] > 1]


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


def test_another_version_of_an_optimizer_is_told_without_advice_to_delete(pictures, tmp_path):
    with stopping_after(3):
        run(tmp_path / "run", table(pictures, tmp_path, stage=None))
    changed = PLUGIN.replace("weight.dim() <= 1]", "weight.dim() <= 1][::-1]")
    assert changed != PLUGIN
    (tmp_path / "run" / "plugins" / "odd.py").write_text(changed)
    recipe = table(pictures, tmp_path, stage=None)
    (tmp_path / "odd.py").write_text(changed)
    with pytest.raises(UserError) as caught:
        run(tmp_path / "run", recipe)
    file = tmp_path / "run" / "factors" / "prior" / "training-000000002.safetensors"
    assert str(caught.value) == (
        f"{file}: the optimizer 'odd' cannot continue from this state (it has other parameter groups). If its plugin "
        "has changed, restore the version that this training began with, or train the factor in a new folder (--out)"
    )
    assert file.exists()


def test_an_optimizer_must_have_all_weights(pictures, tmp_path):
    optimizer = {"name": "odd", "without": "distribution.network.out.bias"}
    recipe = table(pictures, tmp_path, stage=None, training__optimizer=optimizer)
    with pytest.raises(UserError, match=r"optimizer 'odd': its build must give the optimizer all trainable weights of"):
        run(tmp_path / "run", recipe)
