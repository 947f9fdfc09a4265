"""Two real processes do what one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import call, command, distance, metrics, run, snapshot, tiny, weights, write

from auxar.files import read_json
from auxar.running import evaluate, sample

CHANGES = {
    "training__steps": 5,
    "training__flip": True,
    "training__decay": 0.9,
    "training__accumulate": 2,
    "training__clip": 2.0,
    "data__limit": 23,
    "sampling__images": 5,
}


@pytest.fixture(scope="module")
def shared(pictures, tmp_path_factory) -> Path:
    """A run that two processes made, without dropout, whose draws would differ from one process's."""
    folder = tmp_path_factory.mktemp("processes")
    recipe = write(folder / "tiny.toml", tiny(pictures, **CHANGES))
    done = call(command("run", recipe, "--out", "shared", processes=2), folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("report: ") == 1
    assert done.stderr.count("held-out images\n") == 1
    return folder / "shared"


@pytest.fixture(scope="module")
def alone(shared, pictures) -> Path:
    """The same run by one process."""
    return run(shared.with_name("alone"), tiny(pictures, **CHANGES))


def near(table: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """The table with figures that may be off by a share of themselves."""
    return {
        key: pytest.approx(value, rel=tolerance, abs=0) if isinstance(value, float) else value
        for key, value in table.items()
    }


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every entry of nested tables and lists by its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {path: value}
    return {key: entry for name, inner in items for key, entry in flat(inner, f"{path}/{name}").items()}


def test_training_is_that_of_one_process(shared, alone):
    assert len(metrics(alone)) == 10
    for first, second in zip(metrics(alone), metrics(shared), strict=True):
        assert second == near(first, 1e-4)
    # Weights move by up to a learning rate a step; rounding may send a gradient near zero either way.
    assert distance(weights(shared), weights(alone)) < 1e-3
    first, second = weights(alone), weights(shared)
    apart = sum((first[name] - second[name]).abs().sum().item() for name in first)
    assert apart / sum(tensor.numel() for tensor in first.values()) < 1e-5


def test_evaluation_is_that_of_one_process(shared):
    by_two = read_json(shared / "evaluation.json")
    # 17 training and 6 held-out images: the processes' parts differ in length.
    assert by_two["images"] == {"heldout": 6, "training": 17}
    by_one = read_json(evaluate(shared).evaluation)
    assert flat(by_one) == near(flat(by_two), 1e-6)


def test_images_are_those_of_one_process(shared, tmp_path):
    by_two = {name: content for name, (_, content) in snapshot(shared / "samples").items() if name.endswith(".png")}
    sample(shared, out=tmp_path / "samples")
    by_one = {name: content for name, (_, content) in snapshot(tmp_path / "samples").items() if name.endswith(".png")}
    assert len(by_one) == 5 + 2
    assert by_one == by_two


def test_a_mistake_is_told_and_ends_all_processes(shared, pictures):
    recipe = write(shared.with_name("odd.toml"), tiny(pictures, training__batch_size=3))
    done = call(command("run", recipe, "--out", "odd", processes=2), shared.parent)
    assert done.returncode != 0
    assert "auxar: training.batch_size: 3 images cannot be shared evenly by 2 processes; use 2 or 4" in done.stderr
