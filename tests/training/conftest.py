"""Fixtures of the tests of training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run, which tests may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
