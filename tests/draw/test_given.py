"""Tests of reading the images that a user gives as files."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from helpers.causal_networks import random_images
from PIL import Image

from auxar.data.conversion import Preparation
from auxar.data.pixels import pixels
from auxar.draw.forms import Form, usual_preparation
from auxar.draw.given import _mask
from auxar.draw.inputs import as_batch, read
from auxar.draw.sheets import to_uint8
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.numerics.levels import SCALED, VALUES
from auxar.recipe import DataConfig

DATA = DataConfig("pictures")


def read_images(file, spec, data=DATA):
    """Reads an image file as `auxar sample --given` does."""
    return as_batch([file], spec, Preparation.of(spec, data), "given").long()


def read_views(file, spec, values=SCALED):
    """Reads the picture of a view as `auxar sample --given --as-view` does."""
    return read([file], [Form(spec, usual_preparation(spec, values=values))], "given")[1].long()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("values", VALUES)
def test_pictures_come_back_as_they_were(tmp_path, channels, values):
    file = tmp_path / "picture.png"
    for levels in range(2, 257):
        spec = ImageSpec(channels, height=2, width=levels, levels=levels)
        rising = torch.arange(levels).expand(channels, 1, levels)
        image = torch.cat([rising, rising.flip(0, 2).roll(1, 2)], 1)[None]
        Image.fromarray(pixels(image, spec, values)[0]).save(file)
        for found in (read_views(file, spec, values), read_images(file, spec, attrs.evolve(DATA, values=values))):
            assert found.dtype == torch.int64
            assert torch.equal(found, image)


def test_pictures_of_gray_views_come_back_in_the_colors_that_they_are_drawn_in(tmp_path):
    """A grayscale image may be stored as an RGB picture with equal channels."""
    spec = ImageSpec(1, height=2, width=3, levels=5)
    view = random_images(1, spec)
    Image.fromarray(to_uint8(view, spec)[0]).save(tmp_path / "view.png")
    assert torch.equal(read_views(tmp_path / "view.png", spec), view)


@pytest.mark.parametrize("spec", [ImageSpec(2, height=2, width=3), ImageSpec(height=2, width=3, levels=257)], ids=str)
def test_no_picture_shows_a_view_of_other_channels_or_levels(tmp_path, spec):
    file = tmp_path / "view.png"
    Image.new("RGB", (3, 2)).save(file)
    with pytest.raises(UserError, match=f"view.png is a picture, which cannot show values of {spec}"):
        read_views(file, spec)


def test_a_mask_is_known_where_it_is_light():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for keep in (Image.fromarray(values), values, values >= 128):
        mask = _mask(keep, ImageSpec(3, height=16, width=16, levels=8), 2)
        assert (mask.dtype, mask.shape) == (torch.bool, (2, 16, 16))
        assert (mask.numpy() == (values >= 128)).all()


def test_a_broken_picture_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for reading in (read_images, read_views):
        with pytest.raises(UserError, match=r"broken.png cannot be read: the format is unknown"):
            reading(tmp_path / "broken.png", ImageSpec(3, height=8, width=8))
