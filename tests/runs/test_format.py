"""Tests of the format version of run folders: a folder without it, and a folder of another version, is refused."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import run, snapshot, tiny

import auxar
from auxar.errors import UserError
from auxar.evaluation.comparison import compare_runs
from auxar.files import read_json, write_json
from auxar.report import write_report
from auxar.runs.format import FORMAT

VERSION = importlib.metadata.version("auxar")


@pytest.fixture
def own(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def verbs(finished: Path, pictures: Path) -> dict[str, Callable[[Path], Any]]:
    """Returns all operations that open a run, by name."""
    return {
        "run": lambda folder: auxar.run(finished / "recipe.toml", out=folder),
        "evaluate": auxar.evaluate,
        "compare": lambda folder: compare_runs([finished, folder]),
        "sample": lambda folder: auxar.sample(folder, images=1),
        "given": lambda folder: auxar.sample(folder, given=[pictures / "000.png"]),
        "figures": lambda folder: auxar.figures(folder, rows=1),
        "load": auxar.load,
        "report": write_report,
    }


def test_a_run_says_its_format_and_who_wrote_it(finished):
    assert read_json(finished / "run.json") == {"format": FORMAT, "auxar": VERSION}


def test_a_folder_without_the_file_is_no_run(pictures, finished, own):
    """A recipe and weights are not enough, so no file of a user's own is taken for a part of a run."""
    (own / "run.json").unlink()
    before = snapshot(own)
    for verb, call in verbs(finished, pictures).items():
        with pytest.raises(UserError) as caught:
            call(own)
        expected = f"{own} is not a run's folder: it has no run.json"
        if verb == "run":
            expected = f"{own / 'recipe.toml'} is not the recipe of a run, and would be replaced"
        assert str(caught.value).startswith(expected), verb
    assert snapshot(own) == before


def test_a_run_of_this_format_keeps_who_began_it(pictures, own):
    write_json(own / "run.json", {"format": FORMAT, "auxar": "0.0.1"})
    run(own, tiny(pictures, sampling__images=2))
    assert read_json(own / "run.json")["auxar"] == "0.0.1"


def test_a_run_of_another_format_is_refused_by_everything_that_opens_it(pictures, finished, own):
    write_json(own / "run.json", {"format": FORMAT + 1, "auxar": "9.1\x1b[2J", "more": []})
    before = snapshot(own)
    for verb, call in verbs(finished, pictures).items():
        with pytest.raises(UserError) as caught:
            call(own)
        assert str(caught.value) == (
            f"{own} has run format {FORMAT + 1}, written by auxar 9.1\\x1b[2J; this auxar {VERSION} reads "
            f"format {FORMAT}; use a newer auxar"
        ), verb
        assert snapshot(own) == before, verb


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is not valid JSON"),
        ("[]", "expected a table, got []"),
        ("{}", "format: this key is required; auxar: this key is required"),
        ('{"format": 2}', "auxar: this key is required"),
        ('{"format": 0, "auxar": "1"}', "'format' must be >= 1: 0"),
        ('{"format": true, "auxar": "1"}', "format: expected int, got True"),
        ('{"format": "2", "auxar": "1"}', "format: expected int, got '2'"),
        (json.dumps({"format": 2, "auxar": 1}), "auxar: expected str, got 1"),
    ],
)
def test_a_damaged_record_is_one_error(pictures, finished, own, text, words):
    (own / "run.json").write_text(text)
    before = snapshot(own)
    for verb, call in verbs(finished, pictures).items():
        with pytest.raises(UserError) as caught:
            call(own)
        assert str(caught.value).startswith(f"{own / 'run.json'} is damaged: {words}"), verb
        assert "\n" not in str(caught.value)
    assert snapshot(own) == before
