"""Fixtures of the tests of files."""

from __future__ import annotations

import pytest
from helpers.golden_models import MODELS, golden_images, make_golden_run
from PIL import Image


@pytest.fixture(scope="session", params=MODELS)
def run(request, tmp_path_factory):
    """A run with fixed weights, and its integers. Its images have 8×8 pixels."""
    folder = tmp_path_factory.mktemp("files") / request.param
    make_golden_run(folder, request.param)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder with pictures of the models' size."""
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(golden_images()):
        Image.fromarray(image.permute(1, 2, 0).numpy().astype("uint8")).save(folder / f"{number}.png")
    return folder
