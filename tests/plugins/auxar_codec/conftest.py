"""Fixtures of the tests of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.golden_models import MODELS, golden_images, make_golden_run
from PIL import Image


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, made_once: Callable[..., Path]) -> Path:
    """A run with fixed weights, and its integers. Its images have 8×8 pixels. Tests of what depends on the model choose
    others of `MODELS` by an indirect parameter."""
    name = getattr(request, "param", next(iter(MODELS)))
    return made_once(f"golden/{name}", lambda folder: make_golden_run(folder, name))


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder with pictures of the models' size."""
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(golden_images()):
        Image.fromarray(image.permute(1, 2, 0).numpy().astype("uint8")).save(folder / f"{number}.png")
    return folder
