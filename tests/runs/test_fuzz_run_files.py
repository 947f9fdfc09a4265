"""Tests that a run whose files were damaged at random gives a result or one error, and that nothing else changes.

With the environment variable REPETITIONS, as many times more runs are damaged.
"""

import itertools
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import datasets
import pytest
import torch
from helpers.damage import damage
from helpers.killing import REPETITIONS
from helpers.tiny_runs import run, snapshot, tiny
from runs.test_hostile_runs import within

import auxar
from auxar.errors import UserError
from auxar.evaluation.comparison import compare_runs
from auxar.evaluation.stored import read_evaluation
from auxar.report import write_report
from auxar.report.page import comparison_page
from auxar.report.text import comparison_lines, evaluation_lines

COUNT = 30
MOST_DIMS = 100_000
"""Largest images, in sub-pixels, that are drawn. A damaged recipe may ask for an image that does not fit in memory."""
CHANGES = {
    "training__checkpoint_every": 2,
    "training__keep_checkpoints": 2,
    "sampling__images": 1,
    "evaluation": {"train_images": 2, "heldout_images": 2},
}


@pytest.fixture
def root(pictures, tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder with a finished run, with a copy of it that was stopped while it trained the prior, and with the folder
    `work` for a copy that is damaged beside files that must not change. The run is made with a fake clock, so that its
    files are always the same."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("auxar.data.hub._reachable", lambda: False)
    logging.disable(logging.CRITICAL)
    root = tmp_path / "root"
    with monkeypatch.context() as patch:
        patch.setattr("time.perf_counter", itertools.count().__next__)
        finished = run(root / "finished", tiny(pictures, **CHANGES))
        auxar.sample(finished, settings=["sampling.images=1", "sampling.rule=map"])
        auxar.figures(finished, rows=1)
    stopped = shutil.copytree(finished, root / "stopped")
    for name in ("weights", "training-000000004"):
        (stopped / "factors" / "prior" / f"{name}.safetensors").unlink()
    (stopped / "report.html").unlink()
    for name in ("precious", "images/000000.png", "metrics.jsonl"):
        file = root / "work" / "outside" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"precious")
    yield root
    logging.disable(logging.NOTSET)


def load(folder: Path) -> None:
    model = auxar.load(folder)
    if model.image.dims <= MOST_DIMS:
        model.log_prob(torch.zeros((1, *model.image.shape), dtype=torch.int64))
        model.sample(1)


def compare(folder: Path) -> None:
    finished = folder.parents[1] / "finished"
    for paths in ([finished, folder], [folder, finished]):
        comparison = compare_runs(paths)
        comparison_lines(comparison)
        comparison_page(comparison)


ACTIONS: dict[str, Callable[[Path], object]] = {
    "load": load,
    "report": write_report,
    "compare": compare,
    "continue": lambda folder: auxar.run(folder.parents[1] / "finished" / "recipe.toml", out=folder),
    "evaluate": lambda folder: evaluation_lines(read_evaluation(auxar.evaluate(folder).evaluation)),
    "draw": lambda folder: auxar.sample(folder, settings=["sampling.images=1", "sampling.rule=map"]),
}


def error_of(action: Callable[[Path], object], folder: Path) -> str:
    """Returns the message of a `UserError`, or an empty string for a result."""
    try:
        action(folder)
    except UserError as error:
        message = str(error)
        assert message.strip()
        assert len(message.split("\n")) <= 30
        assert len(message) <= 10_000
        return message
    return ""


def attempt(root: Path, random: Random, action: str) -> bool:
    """Damages a copy of a run, and returns whether the action with it has a result."""
    copy = root / "work" / "run"
    shutil.rmtree(copy, ignore_errors=True)
    stopped = action == "continue" and random.random() < 0.7
    shutil.copytree(root / ("stopped" if stopped else "finished"), copy)
    done = damage(random, copy, action)

    def outside() -> list[object]:
        others = [folder for folder in (*root.iterdir(), *copy.parent.iterdir()) if folder not in (copy, copy.parent)]
        return [others, *map(snapshot, others)]

    before = outside()
    try:
        with within(megabytes=2000):
            error = error_of(ACTIONS[action], copy)
        assert outside() == before
    except Exception as found:
        found.add_note(f"{action}: {', '.join(done)}")
        raise
    return not error


@pytest.mark.filterwarnings("ignore")
def test_runs_damaged_at_random(root):
    results: Counter[bool] = Counter()
    actions = set()
    for number in range(COUNT * REPETITIONS):
        random = Random(number)
        actions.add(action := random.choice(list(ACTIONS)))
        results[attempt(root, random, action)] += 1
    assert min(results[True], results[False]) >= COUNT / 5
    assert actions == set(ACTIONS)
