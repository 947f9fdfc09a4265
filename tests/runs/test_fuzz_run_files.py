"""Tests that damaged files of a run give a result or one error, and that the fuzzing script detects anything else."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import pytest
import torch
from helpers.tiny_runs import PROJECT

from auxar.errors import UserError

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


def outcome(
    fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch, action: Callable[[Any, Path], Any], **limits: Any
) -> Any:
    """Returns the outcome of a case with the given action in place of the case's own action."""
    monkeypatch.setattr(fuzz, "ACTIONS", dict.fromkeys(fuzz.ACTIONS, action))
    (found,) = fuzz.outcomes_of(SEED, [0], fuzz.Limits(**{"seconds": 20, "memory": 4, **limits}))
    return found


def test_runs_damaged_at_random(fuzz):
    outcomes = fuzz.outcomes_of(SEED, range(COUNT), fuzz.Limits(seconds=20, memory=4))
    assert [found for found in outcomes if found.kind == "failure"] == []
    kinds = [found.kind for found in outcomes]
    assert min(kinds.count("result"), kinds.count("error")) >= COUNT / 5
    assert {found.what.split()[0] for found in outcomes} == set(fuzz.ACTIONS)


def test_a_number_is_always_the_same_damage(fuzz):
    def damaged(number: int) -> tuple[str, dict[str, bytes]]:
        case = fuzz.make_case(fuzz.sources(), SEED, number)
        files = (path for path in fuzz.sources().copy.rglob("*") if path.is_file() and path.stat().st_size < 2**20)
        return case.what, {str(path): path.read_bytes() for path in files}

    first = [damaged(number) for number in range(10)]
    assert [damaged(number) for number in reversed(range(10))] == first[::-1]
    assert len({what for what, _ in first}) > 5


@pytest.mark.parametrize(
    ("action", "limits", "words"),
    [
        (lambda found, folder: 1 / 0, {}, "ZeroDivisionError: division by zero"),
        (lambda found, folder: time.sleep(5), {"seconds": 0.1}, "hangs: more than 0.1 s"),
        (lambda found, folder: bytearray(2**28), {"memory": 0.1}, "memory: "),
        (lambda found, folder: (found.outside / "new").touch(), {}, "AssertionError: changed outside the copy: ["),
        (lambda found, folder: (found.outside / "precious").write_text(""), {}, "AssertionError: changed outside"),
    ],
)
def test_a_fault_is_a_failure(fuzz, monkeypatch, action, limits, words):
    found = outcome(fuzz, monkeypatch, action, **limits)
    assert found.kind == "failure"
    assert found.words.startswith(words)


@pytest.mark.parametrize("message", ["", "x" * 20_000, "\n".join("a" * 50)])
def test_an_error_that_cannot_be_read_is_a_failure(fuzz, monkeypatch, message):
    def action(found: Any, folder: Path) -> None:
        raise UserError(message)

    found = outcome(fuzz, monkeypatch, action)
    assert found.kind == "failure"
    assert found.words.startswith("AssertionError: an error ")
