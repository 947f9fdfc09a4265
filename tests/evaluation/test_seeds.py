"""Tests that runs which differ only in their seed are one setting, with the mean and the deviation over seeds."""

import csv
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.evaluations import nats_of, with_facts
from helpers.tiny_runs import run, tiny

from auxar.cli import main
from auxar.evaluation.comparison import compare_runs

CHANGES = {"stage": None, "sampling__images": 0, "evaluation__train_images": 0}


@pytest.fixture(scope="module")
def runs(pictures, tmp_path_factory) -> list[Path]:
    """Runs of one recipe with seeds 0, 1 and 2, and then another with more steps and drawn images."""
    folder = tmp_path_factory.mktemp("runs")
    found = [run(folder / f"seed={seed}", tiny(pictures, **CHANGES, training__seed=seed)) for seed in range(3)]
    training = {"training__steps": 5, "training__ema": 0.5, "training__augment": ["flip"]}
    others = {**CHANGES, **training, "sampling__images": 1}
    return [*found, run(folder / "longer", tiny(pictures, **others))]


def bits_of(folder: Path) -> float:
    return float(nats_of(folder).sum(0).mean() / (-math.log(2) * 192))


def test_the_mean_and_the_deviation_are_those_of_the_stored_values(runs):
    same, longer = compare_runs(runs).settings
    bits = [bits_of(folder) for folder in runs]
    assert (same.runs, same.seeds, longer.runs, longer.seeds) == ([1, 2, 3], [0, 1, 2], [4], [0])
    assert same.bits_per_dim == pytest.approx(np.mean(bits[:3]), rel=1e-12)
    assert same.deviation == pytest.approx(np.std(bits[:3], ddof=1), rel=1e-9)
    assert same.deviation > 0
    assert longer.bits_per_dim == pytest.approx(bits[3], rel=1e-12)
    assert longer.deviation is None


def test_settings_are_the_keys_that_differ(runs):
    same, longer = compare_runs(runs).settings
    assert same.values == {"training.steps": 4, "training.ema": 0.9, "training.augment[0].name": None}
    assert longer.values == {"training.steps": 5, "training.ema": 0.5, "training.augment[0].name": "flip"}
    # The number of images that are drawn does not change the model.
    assert [setting.values for setting in compare_runs(runs[:3]).settings] == [{}]


def test_a_training_loop_of_the_users_own_has_no_settings_of_training(runs, pictures, tmp_path):
    own = Path(shutil.copytree(runs[3], tmp_path / "own"))
    with_facts(own, factors__0__weights="own")
    found = compare_runs([runs[0], own]).settings[1].values
    assert {key.partition(".")[0]: value for key, value in found.items()} == {"training": None}
    with_views = run(tmp_path / "views", tiny(pictures, sampling__images=0, training__log_every=3))
    keys = list(compare_runs([runs[0], with_views]).settings[0].values)
    assert (keys[0], "training.log_every" in keys) == ("stage[0].view.name", False)


def test_a_seed_counts_once(runs):
    [setting] = compare_runs([runs[1], runs[0], runs[1]]).settings
    assert (setting.runs, setting.seeds) == ([1, 2], [1, 0])


def test_other_images_are_not_averaged(runs, tmp_path):
    other = Path(shutil.copytree(runs[1], tmp_path / "other"))
    with_facts(other, data__heldout_digest="other")
    assert [setting.runs for setting in compare_runs([runs[0], other]).settings] == [[1], [2]]


def test_a_run_without_a_total_leaves_no_mean(pictures, runs, tmp_path):
    table = tiny(pictures, **CHANGES, training__seed=7)
    table["stage"] = tiny(pictures)["stage"]
    first = run(tmp_path / "first", table)
    part = run(tmp_path / "part", {**table, "training": {**table["training"], "seed": 8}}, only=["prior"])
    [setting] = compare_runs([first, part]).settings
    assert (setting.bits_per_dim, setting.deviation, setting.seeds) == (None, None, [7, 8])


def table_of(text: str) -> list[str]:
    """The lines of the table of settings among those that a comparison prints."""
    [found] = [block.splitlines() for block in text.split("\n\n") if block.startswith("By setting")]
    return found


def test_what_is_printed(runs, tmp_path, capsys):
    assert main(["compare", *map(str, runs), "--tables", str(tmp_path / "tables")]) == 0
    title, noise, heading, same, longer = table_of(capsys.readouterr().out)
    assert title.startswith("By setting: held-out bits/dim, mean and sample standard deviation over seeds; a single")
    assert f"{title} {noise}".endswith("a single seed leaves out the noise of training")
    assert heading.split() == ["runs", "steps", "ema", "augment[0].name", "bits/dim", "deviation", "seeds"]
    found = compare_runs(runs).settings
    mean, deviation = f"{found[0].bits_per_dim:.4f} exact", f"{found[0].deviation:.4f}"
    assert re.split(" {2,}", same) == ["1, 2, 3", "4", "0.9", "–", mean, deviation, "3"]
    assert longer.split()[0] == "4"
    with (tmp_path / "tables" / "by-setting.csv").open() as file:
        first, _ = csv.DictReader(file)
    assert first["steps"] == "4"
    assert float(first["bits/dim"]) == found[0].bits_per_dim
    assert float(first["deviation"]) == found[0].deviation
    assert main(["compare", *map(str, runs[:3])]) == 0
    assert "single seed" not in capsys.readouterr().out
