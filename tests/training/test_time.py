"""Tests of all times that a run measures and shows, by a clock that only the tests move."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.clock import Clock
from helpers.tiny_runs import run, stopping_after, tiny, write

import auxar
from auxar.draw import plan, previews
from auxar.evaluation.comparison import compare_runs
from auxar.numerics.threads import threads
from auxar.recipe import load_recipe
from auxar.report import training_tables
from auxar.runs.layout import RunFolder
from auxar.runs.metrics import read_curves
from auxar.training import loop, speed
from auxar.training.validation import Validation

STEP, VALIDATION = 0.5, 10.0
"""Seconds of a step and of an evaluation of validation images. Other work takes longer, and has no part in times."""
BATCH, STEPS, EVERY = 4, 6, 2


@pytest.fixture
def clock(monkeypatch):
    """The clock, which steps, evaluations, previews, reports and draws of a batch of images move."""
    clock = Clock(monkeypatch)
    clock.during(STEP, loop.FactorLoop, "_step")
    clock.during(VALIDATION, Validation, "_bits_per_dim")
    clock.during(100.0, previews.Previews, "__call__")
    clock.during(7.0, plan, "_draw")
    monkeypatch.setattr("auxar.pipeline.show_progress", lambda _: clock.move(3000.0))
    return clock


def table(pictures: Path, **changes: Any) -> dict[str, Any]:
    """A recipe with everything that takes time during training."""
    intervals = {
        "sample_every": 1,
        "evaluate_every": EVERY,
        "checkpoint_every": 2,
        "log_every": 1,
        "validation_images": 2,
    }
    training = {f"training__{key}": value for key, value in intervals.items()}
    split = {"train": 0.6, "validation": 0.2}
    return tiny(pictures, training__steps=STEPS, data__split=split, sampling__batch_size=2, **training, **changes)


def lines(folder: Path, factor: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "factors" / factor / "metrics.jsonl").read_text().splitlines()]


def test_training_time_is_that_of_steps_and_evaluations(pictures, tmp_path, clock):
    """Neither pictures nor reports count, nor the time during which the training was stopped."""
    folder, recipe = tmp_path / "run", table(pictures, stage=None)
    with stopping_after(5):
        run(folder, recipe)
    clock.move(50_000.0)
    run(folder, recipe)
    found = lines(folder, "prior")
    assert [line["step"] for line in found] == [1, 2, 2, 3, 4, 4, 5, 6, 6]
    for line in found:
        evaluations = line["step"] // EVERY - ("validation_bits_per_dim" not in line and line["step"] % EVERY == 0)
        assert line["seconds"] == pytest.approx(STEP * line["step"] + VALIDATION * evaluations)
        assert line.get("images_per_second", BATCH / STEP) == pytest.approx(BATCH / STEP)
    seconds = STEP * STEPS + VALIDATION * STEPS // EVERY
    assert read_curves(folder)["prior"].seconds == seconds
    assert compare_runs([folder]).runs[0].seconds == seconds
    record = json.loads((folder / "samples" / "samples.json").read_text())
    assert record["seconds"] == pytest.approx(2 * 7.0), "3 images are 2 batches"
    assert f"{2 * 7.0:.1f} s" in (folder / "report.html").read_text()


def test_the_time_left_is_that_of_the_steps_left(pictures, tmp_path, clock):
    folder = run(tmp_path / "run", table(pictures), only=["prior"], train_only=True)
    log = folder / "factors" / "prior" / "metrics.jsonl"
    kept = [line for line in lines(folder, "prior") if line["step"] <= 3]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    (folder / "factors" / "prior" / "weights.safetensors").unlink()
    recipe = load_recipe(folder / "recipe.toml")
    untrained, prior = training_tables.training_progress(RunFolder(folder), recipe)
    assert prior.seconds_left == pytest.approx((STEPS - 3) * kept[-1]["seconds"] / 3)
    assert (prior.steps, prior.total, prior.trained) == (3, STEPS, False)
    assert prior.bits_per_dim == kept[-1]["bits_per_dim"]
    assert prior.validation_bits_per_dim == kept[2]["validation_bits_per_dim"]
    assert (untrained.steps, untrained.seconds_left, untrained.trained) == (0, None, False)


def test_speed_is_that_of_steps_after_the_first(pictures, tmp_path, clock, monkeypatch):
    """The first steps of a factor are slower, and steps are counted until they have taken some time together."""
    seconds, steps = {"stage0": 0.5, "prior": 0.125}, list[str]()
    own = loop.FactorLoop._accumulate

    def accumulate(trial, model, batch):
        name = trial.factor.name
        clock.move(50.0 if steps.count(name) < speed.UNCOUNTED else seconds[name])
        steps.append(name)
        return own(trial, model, batch)

    monkeypatch.setattr(loop.FactorLoop, "_accumulate", accumulate)
    recipe = write(tmp_path / "recipe.toml", table(pictures))
    with threads(1):  # There is no choice of the number of threads, which computes the first gradient again.
        costs = {cost.factor: (cost.steps, cost.minutes) for cost in auxar.check(recipe, time=True).factors}
    assert {name: count for name, (count, _) in costs.items()} == dict.fromkeys(seconds, STEPS)
    assert [minutes for _, minutes in costs.values()] == pytest.approx([STEPS * own / 60 for own in seconds.values()])
    assert {name: steps.count(name) for name in seconds} == {
        name: speed.UNCOUNTED + int(speed.SECONDS / own) + 1 for name, own in seconds.items()
    }
