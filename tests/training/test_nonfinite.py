"""Tests that a nonfinite loss or gradient stops training with an error, or that the step is skipped."""

import json
import math
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers.installed import install_components
from helpers.tiny_runs import metrics, run, said, same, tiny, weights

from auxar.errors import UserError
from auxar.files import read_tensors
from auxar.model import Prior
from auxar.plugins import Component


@attrs.frozen
class FragileConfig:
    """Options of a prior that fails at some steps."""

    steps: str = ""
    how: str = "loss"


class Fragile(Prior):
    """A prior with one weight, and with a nonfinite loss or gradient at the steps that the recipe lists."""

    calls: torch.Tensor

    def __init__(self, config, image):
        super().__init__()
        self.image = image
        self.steps = [int(step) for step in config.steps.split()]
        self.how = config.how
        self.weight = torch.nn.Parameter(torch.tensor(2.0))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def log_prob(self, image):
        weight: torch.Tensor = self.weight
        if self.training:
            self.calls += 1
            if self.calls.item() in self.steps:
                # The root of 0 has an infinite gradient.
                weight = weight + (math.nan if self.how == "loss" else (weight - weight.detach()).sqrt())
        return -(weight.square() + image.float().mean((1, 2, 3)) / 255) * self.image.dims

    def draw(self, request, sampler):
        return (request.uniforms(self.image.shape) * self.image.levels).long()


CHANGES = {
    "stage": None,
    "training__steps": 9,
    "training__checkpoint_every": 2,
    "training__optimizer__learning_rate": 0.01,
    "training__schedule": {"name": "exponential", "decay": 0.5},
    "sampling__images": 0,
}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install_components(monkeypatch, Component("prior", "fragile", FragileConfig, Fragile))


def fragile(pictures: Path, steps: str, how: str, **changes: Any) -> dict[str, Any]:
    return tiny(pictures, **{**CHANGES, **changes}, prior={"name": "fragile", "steps": steps, "how": how})


@pytest.mark.parametrize(("how", "what"), [("loss", "loss is nan"), ("gradient", "gradient of the loss is not finite")])
def test_training_stops_with_factor_step_and_learning_rate(pictures, tmp_path, how, what):
    folder = tmp_path / "run"
    expected = f"factor prior: the {what} at step 6 (learning rate 0.0003125); earlier checkpoints are intact"
    assert said(run, folder, fragile(pictures, "6", how)).startswith(expected)
    files = sorted(file.name for file in (folder / "factors" / "prior").iterdir() if file.name != ".lock")
    assert files == ["metrics.jsonl", "training-000000002.safetensors", "training-000000004.safetensors"]
    assert all(tensor.isfinite().all() for tensor in weights(folder, "training").values())
    assert [line["step"] for line in metrics(folder)] == [1, 2, 3, 4, 5]
    # The message advises to skip such steps; the run continues in the same folder from the checkpoint of step 4.
    run(folder, fragile(pictures, "6", how, training__nonfinite="skip"))
    assert metrics(folder)[-1]["skipped"] == 1


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_steps_may_be_skipped_and_are_counted(pictures, tmp_path, how):
    options = {"training__nonfinite": "skip", "training__keep_checkpoints": 3}
    table = fragile(pictures, "3 4 7", how, **options)
    folder = run(tmp_path / "run", table)
    lines = metrics(folder)
    # A line of metrics covers only completed steps; if all of its steps were skipped, there is no line.
    assert [(line["step"], line.get("skipped", 0)) for line in lines] == [
        (1, 0), (2, 0), (5, 2), (6, 2), (8, 3), (9, 3),
    ]  # fmt: skip
    assert all(math.isfinite(line["bits_per_dim"]) for line in lines)
    assert [line["learning_rate"] for line in lines] == [0.01 * 0.5 ** (line["step"] - 1) for line in lines]
    state, facts = read_tensors(folder / "factors" / "prior" / "training-000000009.safetensors")
    assert json.loads(facts["progress"])["skipped"] == 3
    assert state["optimizer.0.step"].item() == 6
    # Repeat the training: Adam on a loss of w² / ln 2 bits/dim with the learning rates of the completed steps, and the
    # average of the weights over these steps.
    weight = torch.tensor(2.0, requires_grad=True)
    adam = torch.optim.Adam([weight])
    path = []
    for step in (0, 1, 4, 5, 7, 8):
        adam.param_groups[0]["lr"] = 0.01 * 0.5**step
        adam.zero_grad()
        (weight.square() / math.log(2)).backward()
        adam.step()
        path.append(weight.item())
    torch.testing.assert_close(state["factor.distribution.weight"], weight.detach())
    average = path[0]
    for update, value in enumerate(path, start=1):
        average += 10 / (update + 9) * (value - average)
    torch.testing.assert_close(state["average.distribution.weight"], torch.tensor(average))
    # A run that was stopped after step 6 ends in the same way.
    whole = weights(folder, "training")
    for name in ("weights", "training-000000009", "training-000000008"):
        (folder / "factors" / "prior" / f"{name}.safetensors").unlink()
    run(folder, table)
    assert same(weights(folder, "training"), whole)
    assert metrics(folder) == lines


def test_weights_that_always_fail_are_not_skipped_for_ever(pictures, tmp_path):
    steps = " ".join(map(str, range(3, 100)))
    table = fragile(pictures, steps, "loss", training__nonfinite="skip", training__steps=99)
    for _ in range(2):  # Steps before an interruption count.
        with pytest.raises(UserError, match=r"factor prior: the loss is nan at step 53 .*, after 50 skipped steps in"):
            run(tmp_path / "run", table)


def test_weights_that_are_not_finite_are_not_saved(pictures, tmp_path):
    table = tiny(pictures, training__optimizer__learning_rate=3e38, training__steps=1)
    with pytest.raises(UserError, match="factor prior: its weights or optimizer state are not finite after step 1; "):
        run(tmp_path / "run", table)
    assert not list((tmp_path / "run").glob("factors/*/*.safetensors"))
