"""Tests that a finished run can be trained further, and that repeating the parts of its history gives its weights."""

import re
from pathlib import Path

import pytest
import torch
from helpers.evaluations import figures_of
from helpers.tiny_runs import metrics, run, same, snapshot, stopping_after, tiny, weights

import auxar
from auxar.errors import UserError
from auxar.evaluation.stored import read_evaluation
from auxar.files import read_tensors
from auxar.report.text import evaluation_lines
from auxar.training.checkpoints import checkpoints

LONGER = {"training__steps": 7, "training__optimizer__learning_rate": 0.01}
RATE = "optimizer.learning_rate"
TWO_PARTS = f"trained in 2 parts: 1–4 (steps = 4, {RATE} = 0.001), 5–7 (steps = 7, {RATE} = 0.01)"


def steps(folder: Path, factor: str) -> str:
    return read_tensors(folder / "factors" / factor / "weights.safetensors")[1]["step"]


def of_prior(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in weights(folder, name).items() if key.startswith("prior/")}


def test_a_run_is_trained_further_and_its_history_reproduces_it(pictures, copied, tmp_path):
    run(copied, tiny(pictures, **LONGER, sampling__images=1))
    evaluation = read_evaluation(copied / "evaluation.safetensors")
    assert [factor.steps for factor in evaluation.factors] == [7, 7]
    told = [line for line in evaluation_lines(evaluation) if "trained in" in line]
    assert told == [f"stage0    {TWO_PARTS}", f"prior     {TWO_PARTS}"]
    assert (copied / "report.html").read_text("utf-8").count(f"; {TWO_PARTS}.") == 2
    times = {name: (copied / name).stat().st_mtime_ns for name in ("evaluation.safetensors", "samples/samples.json")}
    assert min(times.values()) > (copied / "factors" / "stage0" / "weights.safetensors").stat().st_mtime_ns
    rates = [(line["step"], line["learning_rate"]) for line in metrics(copied)[:7]]
    assert rates == [*enumerate([0.001] * 4 + [0.01] * 3, 1)]

    history = evaluation.factors[1].history
    assert history is not None
    assert history.init is None
    for part in history.parts:
        changes = [f"training.{key}={value}" for key, value in part.settings.items()]
        run(tmp_path / "again", tiny(pictures, sampling__images=0), settings=changes, only=["prior"])
    for name in ("weights", "training"):
        assert same(weights(tmp_path / "again", name), of_prior(copied, name))


def test_two_parts_of_one_factor_equal_one_even_if_the_second_is_killed(pictures, copied, tmp_path):
    """With a constant learning rate, steps do not depend on the length of training. Until the factor is done, the old
    weights and results are kept. The files of the other factor do not change."""
    whole = run(tmp_path / "whole", tiny(pictures, training__steps=7, sampling__images=0), only=["prior"])
    table = tiny(pictures, training__factor={"prior": {"steps": 7}}, training__checkpoint_every=1, sampling__images=1)
    before = snapshot(copied)
    with stopping_after(2):
        run(copied, table)
    stopped = snapshot(copied)
    new = {"recipe.toml", "report.html", ".lock.json", "factors/prior/metrics.jsonl"} | {
        f"factors/prior/training-{step:09d}.safetensors" for step in (4, 5, 6)
    }
    assert {name for name in before.keys() | stopped.keys() if before.get(name) != stopped.get(name)} <= new
    assert steps(copied, "prior") == "4"
    auxar.load(copied).sample(1)
    between = "prior already has; use 6 or more steps, 4 steps, for which it has weights, or, for this factor alone, "
    with pytest.raises(UserError, match=between):
        run(copied, tiny(pictures, training__factor={"prior": {"steps": 5}}))
    run(copied, table)
    assert steps(copied, "prior") == "7"
    after = snapshot(copied)
    assert {name: after[name] for name in after if "stage0" in name} == {
        name: before[name] for name in before if "stage0" in name
    }
    assert [factor["steps"] for factor in figures_of(copied)["factors"]] == [4, 7]
    for name in ("weights", "training"):
        assert same(of_prior(copied, name), weights(whole, name))


def remove_checkpoints(folder: Path) -> None:
    for path in checkpoints(folder / "factors" / "prior"):
        path.unlink()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            # There are 18 training images, so half an epoch takes 3 batches of 4.
            {"training__steps": None, "training__epochs": 0.5},
            "training.epochs: 0.5 (3 steps) is fewer than the 4 steps that factor stage0 already has; use 4 or more "
            "steps or, for this factor alone, training.factor.stage0.steps, or choose another folder with --out",
        ),
        (
            {"training__optimizer__learning_rate": 0.1},
            "training.optimizer.learning_rate: 0.1 would have no effect, because all factors are trained, stage0 with "
            "0.001; set a larger training.steps to train further, or use 0.001",
        ),
        (
            {"training__steps": 5},
            "training.steps: factor prior cannot be trained from 4 to 5 steps, because its last checkpoint is missing: "
            "expected a file training-….safetensors in {run}/factors/prior (folders of `auxar export` have none); "
            "restore it, keep a length of 4 steps, or start a new run from these weights in another folder "
            '(init = "{run}" and --out)',
        ),
    ],
)
def test_other_lengths_are_refused_and_change_nothing(pictures, copied, changes, message):
    remove_checkpoints(copied)
    before = snapshot(copied)
    with pytest.raises(UserError, match=f"^{re.escape(message.format(run=copied))}$"):
        run(copied, tiny(pictures, **{"sampling__images": 1, **changes}))
    assert {name: content for name, content in snapshot(copied).items() if name != ".lock.json"} == before


def test_the_former_recipe_is_accepted_after_further_training_was_stopped(pictures, copied):
    with stopping_after(1):
        run(copied, tiny(pictures, **LONGER))
    run(copied, tiny(pictures, sampling__images=0))
    assert [factor["steps"] for factor in figures_of(copied)["factors"]] == [4, 4]
    newest = checkpoints(copied / "factors" / "stage0")[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"stage0/training-\d+\.safetensors is damaged: .*; delete this file, and"):
        run(copied, tiny(pictures, training__steps=3))
