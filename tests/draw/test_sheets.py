"""Tests that sheets show every pixel in its place and with its value."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers.sheets import cells, enlarged
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from auxar.draw.sheets import MARGIN, TITLE, labeled, save_png, sheet, to_uint8
from auxar.errors import UserError
from auxar.model import ImageSpec


@st.composite
def specs(draw, side=6):
    return ImageSpec(
        draw(st.sampled_from([1, 3])),
        height=draw(st.integers(1, side)),
        width=draw(st.integers(1, side)),
        levels=draw(st.integers(2, 1000)),
    )


def random_images(count, spec, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(spec.levels, (count, *spec.shape), generator=generator)


def tile(picture, spec_shape, zoom, row, column):
    """Returns the pixels of one image of a sheet, shape (height·zoom, width·zoom, 4)."""
    height, width = (side * zoom for side in spec_shape)
    top, left = MARGIN + row * (height + MARGIN), MARGIN + column * (width + MARGIN)
    return np.asarray(picture)[top : top + height, left : left + width]


@settings(deadline=None, max_examples=50)
@given(levels=st.integers(2, 5000))
def test_values_are_scaled_exactly_and_rounded_up(levels):
    spec = ImageSpec(1, height=1, width=levels, levels=levels)
    shown = to_uint8(torch.arange(levels).view(1, 1, 1, levels), spec)
    expected = [math.ceil(Fraction(255 * x, levels - 1)) for x in range(levels)]
    assert shown.dtype == np.uint8
    assert shown.shape == (1, 1, levels, 3)
    assert (shown == np.array(expected)[None, None, :, None]).all()


def test_ordinary_images_keep_their_values():
    spec = ImageSpec(3, height=4, width=5)
    images = random_images(2, spec).to(torch.uint8)
    assert (to_uint8(images, spec) == images.numpy().transpose(0, 2, 3, 1)).all()


def test_a_narrow_range_is_not_stretched():
    spec = ImageSpec(1, height=1, width=2)
    assert to_uint8(torch.tensor([[[[100, 101]]]]), spec)[0, 0, :, 0].tolist() == [100, 101]


@pytest.mark.parametrize(
    ("images", "channels", "expected"),
    [
        (torch.zeros(1, 3, 2, 2), 3, "expected integers"),
        (torch.full((1, 3, 2, 2), 256), 3, "expected integers in"),
        (torch.zeros(1, 3, 2, 3, dtype=torch.int64), 3, "expected shape"),
        (torch.zeros(1, 2, 2, 2, dtype=torch.int64), 2, "1 or 3 channels"),
    ],
)
def test_what_cannot_be_shown_is_a_user_error(images, channels, expected):
    with pytest.raises(UserError, match=expected):
        to_uint8(images, ImageSpec(channels, height=2, width=2))


@settings(deadline=None, max_examples=60)
@given(spec=specs(), count=st.integers(1, 9), columns=st.integers(1, 10), zoom=st.integers(1, 4))
def test_every_image_lies_unchanged_in_its_place(spec, count, columns, zoom):
    images = random_images(count, spec)
    picture = sheet(images, spec, columns=columns, zoom=zoom)
    rows = math.ceil(count / columns)
    assert picture.mode == "RGBA"
    assert picture.size == (
        MARGIN + columns * (spec.width * zoom + MARGIN),
        MARGIN + rows * (spec.height * zoom + MARGIN),
    )
    for index, colors in enumerate(to_uint8(images, spec)):
        pixels = tile(picture, (spec.height, spec.width), zoom, index // columns, index % columns)
        assert (pixels[..., :3] == colors.repeat(zoom, 0).repeat(zoom, 1)).all()
        assert (pixels[..., 3] == 255).all()
    opaque = (np.asarray(picture)[..., 3] == 255).sum()
    assert opaque == count * spec.height * spec.width * zoom**2


@pytest.mark.parametrize(
    ("side", "count", "size"),
    [(8, 16, 4 * 130 + 2), (32, 16, 4 * 130 + 2), (128, 4, 2 * 130 + 2), (200, 1, 204), (32, 100, 10 * 66 + 2)],
)
def test_the_size_is_chosen_for_the_eye(side, count, size):
    spec = ImageSpec(height=side, width=side)
    picture = sheet(random_images(count, spec), spec)
    assert picture.size == (size, size)


def test_a_sheet_needs_an_image_and_room_for_it():
    spec = ImageSpec(height=2, width=2)
    with pytest.raises(UserError, match="no images"):
        sheet(random_images(0, spec), spec)
    with pytest.raises(UserError, match="at least 1"):
        sheet(random_images(1, spec), spec, columns=0)
    with pytest.raises(UserError, match="at least 1"):
        sheet(random_images(1, spec), spec, zoom=0)


@settings(deadline=None, max_examples=30)
@given(count=st.integers(1, 3), scales=st.lists(st.sampled_from([1, 2, 3]), max_size=3), top=specs(3))
def test_growth_shows_each_view_at_the_size_of_the_finest(count, scales, top):
    shapes = [top]
    for index, scale in enumerate(scales):
        below = shapes[-1]
        shapes.append(
            ImageSpec(1 if index % 2 else 3, height=below.height * scale, width=below.width * scale, levels=256)
        )
    views = [("", random_images(count, spec, seed), spec) for seed, spec in enumerate(shapes)]
    picture = labeled(views)
    finest = shapes[-1]
    zoom = ((picture.size[0] - MARGIN) // len(views) - MARGIN) // finest.width
    assert zoom >= 1
    for column, (_, images, spec) in enumerate(views):
        factor = finest.height // spec.height * zoom
        for row, colors in enumerate(to_uint8(images, spec)):
            pixels = tile(picture, (finest.height, finest.width), zoom, row, column)
            assert (pixels[..., :3] == colors.repeat(factor, 0).repeat(factor, 1)).all()


def test_growth_of_a_view_whose_size_does_not_divide():
    coarse, fine = ImageSpec(1, height=1, width=2, levels=2), ImageSpec(1, height=1, width=128, levels=2)
    picture = labeled(
        [("", torch.tensor([[[[0, 1]]]]), coarse), ("", torch.zeros(1, 1, 1, 128, dtype=torch.int64), fine)]
    )
    row = tile(picture, (1, 128), 1, 0, 0)[0, :, 0]
    assert row.tolist() == [0] * 64 + [255] * 64
    odd = ImageSpec(1, height=1, width=3, levels=3)
    picture = labeled(
        [("", torch.tensor([[[[0, 1, 2]]]]), odd), ("", torch.zeros(1, 1, 1, 128, dtype=torch.int64), fine)]
    )
    row = tile(picture, (1, 128), 1, 0, 0)[0, :, 0]
    assert row.tolist() == [0] * 43 + [128] * 43 + [255] * 42


@pytest.mark.parametrize(
    ("title", "height", "width"), [("a", 64, 128), ("twice as wide as the images of it", 132, 264)]
)
def test_labeled_columns_show_each_image_below_its_title_and_beside_its_name(title, height, width):
    """The columns are at least as wide as the titles, and coarse images are enlarged to the size of the others."""
    fine, coarse = ImageSpec(height=16, width=32), ImageSpec(1, height=3, width=6, levels=3)
    titles, names = ["", title, "last"], ["", "second", "third: 1.25"]
    specs = enumerate((fine, coarse, fine))
    columns = [(titles[number], random_images(3, spec, number), spec) for number, spec in specs]
    picture = labeled(columns, names)
    assert picture.width == 8 * len(names[2]) + MARGIN + 3 * (width + MARGIN)
    assert picture.height == TITLE + MARGIN + 3 * (height + MARGIN)
    shown = cells(picture, 3, 3, height, width)
    for column, (_, images, spec) in enumerate(columns):
        for row, colors in enumerate(to_uint8(images, spec)):
            assert np.array_equal(shown[row, column], enlarged(colors, height, width))
    ink = np.asarray(picture)[..., 3] > 0
    left = picture.width - 3 * (width + MARGIN)
    font = ImageFont.load_default(size=12)
    for column, text in enumerate(titles):
        start = left + column * (width + MARGIN)
        above = np.flatnonzero(ink[:TITLE, start : start + width].any(0))
        assert (len(above) > 0) == bool(text)
        assert not text or abs(above[[0, -1]].mean() - width / 2) < 3
        assert not text or np.ptp(above) + 1 == pytest.approx(font.getlength(text), abs=3)
    for row, text in enumerate(names):
        start = TITLE + MARGIN + row * (height + MARGIN)
        beside = np.flatnonzero(ink[start : start + height, : left - MARGIN].any(1))
        assert (len(beside) > 0) == bool(text)
        assert not text or abs(beside[[0, -1]].mean() - height / 2) < 5


def test_columns_may_end_early_and_those_that_cannot_be_shown_are_left_out():
    spec, other = ImageSpec(height=2, width=2), ImageSpec(2, height=2, width=2)
    columns = [("", random_images(count, own), own) for count, own in ((2, spec), (3, other), (1, spec))]
    shown = np.asarray(labeled(columns, zoom=1))
    assert shown.shape == (2 * 4 + MARGIN, 2 * 4 + MARGIN, 4)
    assert (shown[..., 3] == 255).sum() == 3 * 4
    for none in ([], columns[1:2]):
        with pytest.raises(UserError, match="no images to show"):
            labeled(none)


def test_png_files_come_back_as_written(tmp_path):
    spec = ImageSpec(height=3, width=4)
    picture = sheet(random_images(3, spec), spec)
    save_png(picture, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as found:
        assert (np.asarray(found) == np.asarray(picture)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_a_failed_write_leaves_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "sheet.png"
    picture = Image.new("RGBA", (2, 2))
    save_png(picture, path)
    before = path.read_bytes()

    def fail(self, target, format):
        target.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(UserError, match="no space"):
        save_png(picture, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["sheet.png"]
