"""Fixtures of the tests of drawing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.tiny_runs import run, tiny


@pytest.fixture(scope="session")
def grayscale_run(made_once: Callable[..., Path], pictures: Path) -> Path:
    """A run of two stages: 8×8 color images, their means over squares, and the gray values of the means."""

    def make(folder: Path) -> None:
        table = tiny(pictures)
        table["stage"].append({**table["stage"][0], "view": {"name": "grayscale", "levels": 16}})
        run(folder, table)

    return made_once("grayscale/run", make)
