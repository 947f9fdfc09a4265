"""Fixtures of the tests of combinations: runs that combine features, and sizes of chunks of one picture."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.matrix import MATRIX, at_once, write_labeled, write_masked
from helpers.one_by_one import random_run
from helpers.tiny_runs import run

import auxar


@pytest.fixture(autouse=True)
def one_picture_at_once() -> Iterator[None]:
    """Sets all sizes of chunks to one picture."""
    with at_once(1):
        yield


@pytest.fixture(scope="session")
def pictures_of(made_once: Callable[..., Path]) -> dict[str, Path]:
    """The folder of images of each run in `MATRIX`."""
    labeled, masked = made_once("matrix-data/labeled", write_labeled), made_once("matrix-data/masked", write_masked)
    return {"labels": labeled, "masks": masked, "plain": labeled}


@pytest.fixture(scope="session")
def run_of(pictures_of: dict[str, Path], made_once: Callable[..., Path]) -> Callable[[str], Path]:
    """A function that returns a run of `MATRIX` by name. The run is trained once, and tests must not change it."""

    def trained(name: str) -> Path:
        with at_once(1):
            return made_once(f"matrix/{name}", lambda folder: run(folder, MATRIX[name](pictures_of[name])))

    return trained


@pytest.fixture(params=["labels", "masks"])
def name(request: pytest.FixtureRequest) -> str:
    """The name of a run with conditions in `MATRIX`."""
    return str(request.param)


@pytest.fixture(scope="session")
def random_run_of(pictures_of: dict[str, Path], made_once: Callable[..., Path]) -> Callable[[str], Path]:
    """A function that returns a run with random weights by a name in `CONDITIONS`. Tests must not change it."""

    def make(folder: Path) -> None:
        source = pictures_of["masks" if folder.name == "masks" else "labels"]
        auxar.integers(random_run(folder.parent, folder.name, source))

    def of(name: str) -> Path:
        with at_once(1):
            return made_once(f"random/{name}", make)

    return of
