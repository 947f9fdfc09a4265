"""Fixtures of the tests of training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.tiny_runs import run, tiny


@pytest.fixture(scope="package")
def finished(pictures, tmp_path_factory) -> Path:
    """A finished run of 4 steps for each factor, which tests must not change."""
    return run(tmp_path_factory.mktemp("finished") / "run", tiny(pictures, sampling__images=1))


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run, which tests may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
