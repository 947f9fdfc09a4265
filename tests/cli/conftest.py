"""Fixtures of the tests of the command line."""

from pathlib import Path

import pytest
from helpers.tiny_runs import tiny, write


@pytest.fixture
def recipe(pictures, tmp_path, monkeypatch) -> Path:
    """A recipe in the working folder."""
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "tiny.toml", tiny(pictures, sampling__images=1))
