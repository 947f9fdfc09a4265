"""Tests that several seeds and values of a recipe make the runs that single commands make, and share them."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import run, said, same, snapshot, tiny, weights, write

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.recipe import read_recipe, recipe_text
from auxar.sweeps import sweep_values
from auxar.training.speed import stored_steps, timed_steps

CHANGES = {"sampling__images": 0, "evaluation__train_images": 0, "training__steps": 2, "stage": None}
RATE = "training.optimizer.learning_rate"


@pytest.fixture
def recipe(pictures, tmp_path) -> Path:
    return write(tmp_path / "recipe.toml", tiny(pictures, **CHANGES))


def test_seeds_are_those_of_single_runs(recipe, pictures, tmp_path):
    found = auxar.run(recipe, seeds=2, settings=["training.seed=3"], out=tmp_path / "runs")
    assert [each.path for each in found] == [tmp_path / "runs" / "seed=3", tmp_path / "runs" / "seed=4"]
    alone = run(tmp_path / "alone", tiny(pictures, **CHANGES, training__seed=4))
    assert same(weights(found[1].path), weights(alone))
    assert not same(weights(found[0].path), weights(alone))
    assert found[1].bits_per_dim == auxar.compare([alone]).runs[0].bits_per_dim


def test_each_combination_of_values_and_seeds_is_a_run(recipe, tmp_path):
    sweep: dict[str, list[Any]] = {RATE: [0.001, 0.003], "training.schedule": ["constant", {"name": "cosine"}]}
    settings = [f"{RATE}=0.1"]  # The values of the sweep replace it.
    options: dict[str, Any] = {"only": ["prior"], "train_only": True, "settings": settings}
    found = auxar.run(recipe, sweep=sweep, seeds=2, out=tmp_path / "runs", **options)
    assert [each.path.name for each in found[:5]] == [
        "learning_rate=0.001,schedule=constant,seed=0",
        "learning_rate=0.001,schedule=constant,seed=1",
        "learning_rate=0.001,schedule=name-cosine,seed=0",
        "learning_rate=0.001,schedule=name-cosine,seed=1",
        "learning_rate=0.003,schedule=constant,seed=0",
    ]
    assert sorted(each.path for each in found) == sorted((tmp_path / "runs").iterdir())
    training = [read_recipe(each.recipe).training for each in found]
    assert {(each.optimizer.options["learning_rate"], each.schedule.name, each.seed) for each in training} == {
        (rate, name, seed) for rate in (0.001, 0.003) for name in ("constant", "cosine") for seed in (0, 1)
    }


def test_the_command_prints_the_means_over_seeds(recipe, tmp_path, capsys):
    line = ["run", str(recipe), "--sweep", f"{RATE}=0.001,0.003", "--seeds", "2", "--out", str(tmp_path / "runs")]
    assert main(line) == 0
    heading, *rows = capsys.readouterr().out.splitlines()[-3:]
    assert heading.split() == ["runs", "learning_rate", "bits/dim", "deviation", "seeds"]
    assert [row.split()[:3] for row in rows] == [["1,", "2", "0.001"], ["3,", "4", "0.003"]]
    before = snapshot(tmp_path / "runs")
    assert main([*line, "--json"]) == 0
    first, *_ = json.loads(capsys.readouterr().out)
    assert Path(first["run"]).name == "learning_rate=0.001,seed=0"
    assert snapshot(tmp_path / "runs") == before


def test_what_other_processes_train_comes_last(recipe, tmp_path, monkeypatch):
    calls = []

    def recorded(load, run, only, *, train_only, wait):
        calls.append((run.path.name, wait))
        return wait or run.path.name != "seed=0"

    monkeypatch.setattr("auxar.sweeps.run_pipeline", recorded)
    found = auxar.run(recipe, seeds=3, out=tmp_path / "runs")
    assert calls == [("seed=0", False), ("seed=1", False), ("seed=2", False), ("seed=0", True)]
    assert [each.only_trained for each in found] == [False] * 3
    found = auxar.run(recipe, seeds=3, wait=False, out=tmp_path / "runs")
    assert [each.only_trained for each in found] == [True, False, False]


def test_seeds_of_a_setting_have_the_steps_that_were_measured_for_it(pictures, tmp_path, monkeypatch):
    """A step takes a second for each filter, and longer in each measurement."""
    measured: list[int] = []
    nothing: Any = None

    def seconds_per_step(recipe, *_):
        measured.append(recipe.prior.options["filters"])
        return {"prior": float(len(measured) * measured[-1])}

    def recorded(load, run, only, **_):
        recipe = load()
        recipe = recipe.with_steps(stored_steps(run, recipe))
        recipe = recipe.with_steps(timed_steps(recipe, lambda: nothing, nothing))
        run.path.mkdir(parents=True)
        run.recipe.write_text(recipe_text(recipe))
        return True

    monkeypatch.setattr("auxar.training.speed.seconds_per_step", seconds_per_step)
    monkeypatch.setattr("auxar.sweeps.run_pipeline", recorded)
    table = tiny(pictures, **{**CHANGES, "training__steps": None, "training__minutes": 2.0})
    sweep = {"prior.filters": [3, 5, 4]}
    auxar.run(write(tmp_path / "recipe.toml", table), sweep=sweep, seeds=2, out=tmp_path / "runs", train_only=True)
    assert measured == [3, 5, 4]
    found = {
        path.name: read_recipe(path / "recipe.toml").training_of("prior").steps
        for path in (tmp_path / "runs").iterdir()
    }
    assert found == {
        f"filters={filters},seed={seed}": round(120 / (place * filters))
        for place, filters in enumerate((3, 5, 4), 1)
        for seed in (0, 1)
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sweep": ["training.steps=1,2", "training.stepz=3"]}, "training: unknown key 'stepz'"),
        ({"sweep": {"prior.filters": [4, 0]}}, "prior"),
        ({"sweep": {"training.steps": [1, 1]}}, "training.steps: the values 1 and 1 have the same folder, steps=1;"),
        ({"seeds": 2, "settings": [f"training.seed={2**63 - 1}"]}, "2^63"),
        (
            {"sweep": {"training.steps": [1, 2], "training.epochs": [0.002]}},
            "epochs=0.002: it replaces training.steps=1",
        ),
        ({"sweep": {RATE: [float("nan")]}}, f"{RATE}: expected a finite number, got nan"),
        ({"sweep": {"training.steps": 3}}, "training.steps: expected a list of values, got 3 (int)"),
        ({"sweep": {"data.path": [Path("a")]}}, "data.path: expected values of TOML"),
        ({"sweep": ["training.steps"]}, "expected KEY=VALUE,VALUE…"),
        ({"sweep": ["training.steps=1", "training.steps=2"]}, "expected each key once"),
        ({"sweep": {"training.seed": [1, 2]}, "seeds": 2}, "give either the seeds or this key"),
        ({"seeds": 0}, "seeds: expected an integer of at least 1, got 0"),
        ({"seeds": 1001}, "expected at most 1,000 runs, got 1,001"),
        ({"seeds": 2, "only": ["stage7"]}, "stage7"),
    ],
)
def test_a_mistake_in_one_run_leaves_nothing_written(recipe, pictures, tmp_path, arguments, words):
    assert words in said(auxar.run, recipe, **arguments, out=tmp_path / "runs")
    assert "nowhere" in said(auxar.run, recipe, sweep={"data.path": [str(pictures), "nowhere"]}, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_folder_of_a_run_takes_no_further_runs(recipe, tmp_path):
    auxar.run(recipe, out=tmp_path / "run")
    before = snapshot(tmp_path / "run")
    with pytest.raises(UserError, match="is the folder of a run; choose another folder"):
        auxar.run(recipe, out=tmp_path / "run", seeds=2)
    assert snapshot(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("data.path=a/b, c", ["a/b", "c"]),
        ('training.schedule={name="cosine"},"constant"', [{"name": "cosine"}, "constant"]),
        ("training.ema_warmup=true", [True]),
    ],
)
def test_values_are_those_of_toml(text, values):
    assert sweep_values([text]) == {text.partition("=")[0]: values}
