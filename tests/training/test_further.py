"""Tests that a finished run can be trained further, and that the history of its training reproduces its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.tiny_runs import run, same, snapshot, tiny, weights

from auxar.files import read_json


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("finished") / "run", tiny(pictures, sampling__images=1))


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run, to train further."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_two_parts(pictures, copied, tmp_path):
    run(copied, tiny(pictures, training__steps=7, sampling__images=1))
    whole = run(tmp_path / "whole", tiny(pictures, training__steps=7, sampling__images=1))
    assert same(weights(copied), weights(whole))
    assert same(weights(copied, "training"), weights(whole, "training"))
    print(read_json(copied / "evaluation.json")["factors"][0]["history"])
    before = snapshot(copied)
    run(copied, tiny(pictures, training__steps=7, sampling__images=1))
    assert snapshot(copied) == before
