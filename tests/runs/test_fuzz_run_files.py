"""Tests that damaged files of a run give a result or one error, and that the fuzzing script detects anything else."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType

import datasets
import pytest
import torch
from helpers.tiny_runs import PROJECT

SEED, COUNT = 1, 30


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    """The fuzzing script. Its changes of the image cache and of the number of threads are undone after the tests."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT / "tests" / "fuzz")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", datasets.config.HF_DATASETS_CACHE)
        yield importlib.import_module("run_files")
    torch.set_num_threads(threads)
    datasets.enable_progress_bars()


def test_runs_damaged_at_random(fuzz):
    outcomes = fuzz.outcomes_of(SEED, range(COUNT), fuzz.Limits(seconds=20, memory=4))
    assert [found for found in outcomes if found.kind == "failure"] == []
    kinds = [found.kind for found in outcomes]
    assert min(kinds.count("result"), kinds.count("error")) >= COUNT / 5
    assert {found.what.split()[0] for found in outcomes} == set(fuzz.ACTIONS)


@pytest.mark.parametrize(
    "action",
    [
        lambda found, folder: (found.outside / "new").touch(),
        lambda found, folder: (found.outside / "precious").write_text(""),
    ],
)
def test_a_change_outside_of_the_run_is_a_failure(fuzz, monkeypatch, action):
    monkeypatch.setattr(fuzz, "ACTIONS", dict.fromkeys(fuzz.ACTIONS, action))
    (found,) = fuzz.outcomes_of(SEED, [0], fuzz.Limits(seconds=20, memory=4))
    assert found.kind == "failure"
    assert found.words.startswith("AssertionError: changed outside the copy: [")
