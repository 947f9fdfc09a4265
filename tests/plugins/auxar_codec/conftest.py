"""Fixtures of the tests of files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.golden_models import MODELS, golden_images, make_golden_run

import auxar


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, made_once: Callable[..., Path]) -> Path:
    """A run with fixed weights, and its integers. Its images have 8×8 pixels. Tests of what depends on the model choose
    others of `MODELS` by an indirect parameter."""
    name = getattr(request, "param", next(iter(MODELS)))
    return made_once(f"golden/{name}", lambda folder: make_golden_run(folder, name))


@pytest.fixture(scope="module")
def images(run, tmp_path_factory):
    """A folder with pictures that the model of `run` draws, and one that it would make larger."""
    folder = tmp_path_factory.mktemp("images")
    drawn = auxar.load(run, arithmetic="integer").sample(len(golden_images()) - 1)
    unlikely = auxar.Images(golden_images()[:1], drawn.spec)
    for number, picture in enumerate([*drawn.to_pil(), *unlikely.to_pil()]):
        picture.save(folder / f"{number}.png")
    return folder
