"""Tests of lengths of training in minutes, for which a run measures and stores numbers of steps."""

import shutil
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from helpers.tiny_runs import assert_same_training, calls_of, run, said, stopping_after, tiny, write

import auxar
from auxar.recipe import read_recipe, recipe_text
from auxar.recipe.loading import parse_recipe
from auxar.runs.layout import RunFolder
from auxar.training import speed

SECONDS = {"stage0": 0.4, "stage1": 0.1, "prior": 0.02}


def timed(pictures: Path, minutes: float, **changes: Any) -> dict[str, Any]:
    return tiny(pictures, training__steps=None, training__minutes=minutes, sampling__images=0, **changes)


def steps(folder: Path) -> list[int | None]:
    recipe = read_recipe(folder / "recipe.toml")
    return [recipe.training_of(name).steps for name in recipe.factor_names]


def test_factors_share_minutes_by_the_square_roots_of_their_durations(monkeypatch):
    monkeypatch.setattr(speed, "seconds_per_step", lambda *_: SECONDS)
    nothing: Any = dict
    table = timed(Path("pictures"), 8, stage__0__repeat=2, training__factor={"prior": {"minutes": 2}})
    recipe = parse_recipe(tomli_w.dumps(table), None)
    found = speed.timed_steps(recipe, nothing, nothing)
    assert found == {"stage0": 600, "stage1": 1200, "prior": 6000}
    resolved = recipe.with_steps(found)
    assert parse_recipe(recipe_text(resolved), None) == resolved
    table["training"]["factor"]["prior"]["minutes"] = 9
    told = "training.minutes: expected more than the 9 minutes of prior, which are a part of them, got 8"
    assert said(parse_recipe, tomli_w.dumps(table), None) == told


def test_a_run_keeps_the_steps_that_it_measured(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.05)
    first, again = tmp_path / "first", tmp_path / "again"
    with calls_of(speed, "seconds_per_step") as calls:
        with stopping_after(2):
            run(first, timed(pictures, 0.005))
        run(first, timed(pictures, 0.005))
        run(again, tomllib.loads((first / "recipe.toml").read_text()))
        assert len(calls) == 1
        assert steps(first) == steps(again)
        assert_same_training(first, again)
        # Other minutes change the steps in proportion, however busy the machine is now.
        run(first, timed(pictures, 0.02))
        assert steps(first) == [4 * (count or 0) for count in steps(again)]
        assert " is fewer than the " in said(run, first, timed(pictures, 0.01))
        assert len(calls) == 1
        run(tmp_path / "steps", tiny(pictures, sampling__images=0))
        had = steps(tmp_path / "steps")
        with monkeypatch.context() as patch:
            patch.setattr(speed, "_divided", lambda recipe, _: dict.fromkeys(recipe.factor_names, 1))
            run(tmp_path / "steps", timed(pictures, 0.03))  # On a machine that is slow now, no factor loses steps.
        assert steps(tmp_path / "steps") == had
    recipe = write(tmp_path / "again.toml", timed(pictures, 0.02))
    shutil.rmtree(first / "factors")  # Until there is a checkpoint, the recipe may change.
    for setting, kept in (("training.seed=5", True), ("training.batch_size=2", False)):
        assert bool(speed.stored_steps(RunFolder(first), auxar.load_recipe(recipe, [setting]))) == kept


def test_check_tells_the_minutes_of_all_steps(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "seconds_per_step", lambda *_: SECONDS)
    recipe = write(tmp_path / "tiny.toml", tiny(pictures, training__steps=None, training__epochs=2))
    found = [(cost.steps, cost.minutes) for cost in auxar.check(recipe, time=True).factors]
    assert found == [(9, 9 * 0.4 / 60), (9, 9 * 0.02 / 60)], "18 training images in batches of 4"
