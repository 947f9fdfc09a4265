"""Fixtures of the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny_runs import run, tiny, write


@pytest.fixture(scope="package")
def finished(pictures, tmp_path_factory) -> Path:
    """A finished run."""
    return run(tmp_path_factory.mktemp("finished") / "run", tiny(pictures))


@pytest.fixture
def recipe(pictures, tmp_path, monkeypatch) -> Path:
    """A recipe in the working folder."""
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "tiny.toml", tiny(pictures, sampling__images=1))
