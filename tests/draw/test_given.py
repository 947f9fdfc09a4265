"""Tests of reading the images that a user gives as files."""

from __future__ import annotations

import io

import attrs
import numpy as np
import pytest
import torch
from helpers.causal_networks import random_images
from helpers.tiny_runs import write_pictures
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from auxar.data.conversion import Preparation
from auxar.data.pixels import pixels
from auxar.draw.given import Form
from auxar.draw.inputs import as_batch, gathered
from auxar.draw.pictures import mask_values
from auxar.draw.sheets import to_uint8
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.numerics.levels import SCALED, VALUES
from auxar.recipe import DataConfig

DATA = DataConfig("pictures")


def read_images(file, spec, data=DATA):
    """Reads an image file as `auxar sample --given` does."""
    return as_batch([file], spec, Preparation.of(spec, data), what="given", of_command=True).long()


def read_views(file, spec, values=SCALED):
    """Reads the picture of a view as `auxar sample --given --as-view` does."""
    form = Form(1, spec, values)
    return gathered([file], form.array, lambda *picture: form.picture(*picture[:2]), "given").long()


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


def test_images_are_read_as_training_reads_them(pictures):
    files = sorted(pictures.iterdir())[:3]
    for levels in (2, 16, 255, 256):
        for file in files:
            [image] = read_images(file, ImageSpec(3, height=8, width=8, levels=levels))
            with Image.open(file) as picture:
                assert (image.numpy() == np.asarray(picture).transpose(2, 0, 1).astype(int) * levels // 256).all()


def test_images_of_another_size_are_brought_to_it_as_the_recipe_says(tmp_path):
    file = write_pictures(tmp_path / "large", 1, side=16) / "000.png"
    spec = ImageSpec(3, height=8, width=8)
    with Image.open(file) as picture:
        expected = np.asarray(picture.resize((8, 8), Image.Resampling.LANCZOS))
    found = read_images(file, spec, attrs.evolve(DATA, resize="cover"))[0]
    assert (found.numpy().transpose(1, 2, 0) == expected).all()


def test_a_mask_is_known_where_it_is_light():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mask = mask_values(Image.fromarray(values), ImageSpec(3, height=16, width=16), "keep")
    assert mask.dtype == bool
    assert (mask == (values >= 128)).all()


def outcome(function, *arguments):
    """Returns the result of a function, or the message of its `UserError`."""
    try:
        return function(*arguments)
    except UserError as error:
        return str(error)


FORMATS = {"PNG": "RGB", "BMP": "RGB", "GIF": "P", "TIFF": "RGB", "JPEG": "RGB"}
CHANGES = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(FORMATS)), changes=CHANGES, length=st.just(1000) | st.integers(0, 400))
@example(kind="BMP", changes=[(21, 54)], length=1000)
def test_a_damaged_file_is_an_image_or_a_mistake(tmp_path, kind, changes, length):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).convert(FORMATS[kind]).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for place, value in changes:
        content[place % len(content)] = value
    file = tmp_path / "damaged"
    file.write_bytes(content[:length])
    spec = ImageSpec(3, height=8, width=8)
    for found in (outcome(read_images, file, spec), outcome(read_views, file, spec)):
        assert str(file) in found if isinstance(found, str) else found.shape == (1, 3, 8, 8)
