"""Tests of the time left that the progress bar of a factor shows."""

from __future__ import annotations

import io

import pytest
from helpers.tiny_runs import tiny, write

from auxar.recipe import load_recipe
from auxar.recipe.cost import factor_costs
from auxar.runs.layout import RunFolder
from auxar.training import remaining
from auxar.training.remaining import StepBar, later_steps


def test_later_factors_count_by_their_multiply_adds_batches_and_missing_steps(pictures, tmp_path, monkeypatch):
    own = {"stage0": {"steps": 9, "batch_size": 2}}
    recipe, registry = load_recipe(write(tmp_path / "tiny.toml", tiny(pictures, training__factor=own)))
    costs = factor_costs(recipe, registry)
    monkeypatch.setattr(remaining, "factor_costs", lambda *arguments: costs)
    stage, prior = costs
    run = RunFolder(tmp_path / "run")
    step = stage.multiply_adds * 2 / (prior.multiply_adds * 4)
    assert later_steps(recipe, registry, "prior", ["stage0"], run, 0) == pytest.approx(9 * step)
    run.factor("stage0").mkdir(parents=True)
    (run.factor("stage0") / "training-000000005.safetensors").touch()
    assert later_steps(recipe, registry, "prior", ["stage0"], run, 0) == pytest.approx(4 * step)
    assert later_steps(recipe, registry, "prior", [], run, 0) == 0


def test_the_bar_shows_the_time_of_all_factors_when_the_speed_is_known(monkeypatch):
    monkeypatch.setattr(remaining, "SHOWN_AFTER", 0.0)
    with StepBar(total=20, file=io.StringIO(), ncols=120, smoothing=0) as bar:
        now = bar.start_t
        bar._time = lambda: now
        assert "all factors" not in str(bar)
        bar.count_later_steps = lambda: 180.0
        now += 10
        bar.update(10)
        # 10 of 20 steps took 10 seconds, and later factors take as long as 180 steps.
        assert "10/20 [00:10<00:10, all factors 03:10, " in str(bar)
        assert bar.count_later_steps is None
