"""Tests of the scripts that rendered the embedded images: images of drawings, and images left out or held out."""

import json
import string

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.tiny_runs import PROJECT
from PIL import Image, ImageDraw, ImageFont

LETTERS = PROJECT / "plugins" / "auxar_letters" / "letters"


def svg(box, color="red"):
    """The stand-in for a drawing: a rectangle (left, top, right, bottom) on a canvas of 64×64."""
    return json.dumps([box, color])


def rasterize(text, width):
    box, color = json.loads(text[text.index("[") : text.rindex("]") + 1])
    image = Image.new("RGBA", (width, width))
    if box:
        left, top, right, bottom = (round(side * width / 64) for side in box)
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), color)
    return image


@pytest.fixture(scope="module")
def splits(generate):
    return generate("emoji_splits")


@pytest.fixture(scope="module")
def letters(generate):
    return generate("render_letters")


@pytest.mark.parametrize("box", [(8, 8, 56, 32), (0, 40, 24, 64), (20, 1, 50, 63)])
def test_a_drawing_is_centered_and_its_longer_side_has_30_pixels(generate, monkeypatch, box):
    rendering = generate("emoji_rendering")
    monkeypatch.setattr(rendering, "rasterize", rasterize)
    image = rendering.render(svg(box))
    assert image is not None
    assert (image.mode, image.size) == ("RGB", (32, 32))
    ink = 1 - np.asarray(image)[..., 1].astype(float) / 255
    assert np.asarray(image)[..., 0].min() == 255
    for across, low, high in ((0, 0, 2), (1, 1, 3)):
        profile = ink.max(across)
        length = (box[high] - box[low]) * 30 / max(box[2] - box[0], box[3] - box[1])
        assert profile.sum() == pytest.approx(length, abs=0.3)
        assert (profile * (np.arange(32) - 15.5)).sum() / profile.sum() == pytest.approx(0, abs=0.1)


def test_pairs_of_near_images_are_all_found(splits):
    images = np.random.default_rng(0).integers(0, 254, (6, 32, 32, 3), dtype=np.uint8)
    images[3] = images[1] + 2
    assert splits.near(images, 2.001) == [(1, 3)]
    assert splits.near(images, 2.0) == []


def test_the_first_of_nearly_equal_images_is_kept(splits):
    # Image 2 is near image 1 only, which is left out itself.
    assert splits.without_equal(4, [(0, 1), (1, 2)]) == [0, 2, 3]


def test_emoji_that_most_vendors_have_are_held_out_unless_they_are_similar_to_others(generate, splits):
    Emoji = generate("emoji_catalog").Emoji
    emoji = [Emoji(code, code, "heart") for code in ("1", "2", "2", "3", "3", "4")]
    emoji += [Emoji(f"a{number}", "", "drink") for number in range(45)]
    assert splits.held_out(emoji[:6], []) == {min("23", key=splits.order)}
    assert splits.held_out(emoji[:6], [(1, 3), (1, 2)]) == {min("14", key=splits.order)}
    assert splits.held_out(emoji[:6], [(1, 2), (3, 4)]) == {min("23", key=splits.order)}
    assert len(splits.held_out(emoji[6:], [])) == 2


def test_letters_fill_the_box(letters, tmp_path):
    file = tmp_path / "font.ttf"
    file.write_bytes(ImageFont.load_default(20).font_bytes or ImageFont.load_default(20).path.getvalue())
    images = letters.render(file)
    dark: np.ndarray = images < 255
    heights, widths = (np.asarray(dark.any(axis)).sum(1) for axis in (2, 1))
    assert images.shape == (26, 32, 32)
    assert letters.BOX - 1 <= max(heights.max(), widths.max()) <= letters.BOX + 1
    assert widths[string.ascii_uppercase.index("I")] < widths[string.ascii_uppercase.index("W")] / 2
    for axis in (2, 1):  # Letters are centered.
        sides = np.asarray(dark.any(axis))
        margins = sides.argmax(1) - np.flip(sides, 1).argmax(1)
        assert np.abs(margins).max() <= 3


def test_missing_packages_are_named(letters, tmp_path):
    with pytest.raises(SystemExit, match=r"not all fonts are there; run: npm install .*@fontsource/inter@"):
        letters.main(tmp_path, LETTERS)


def test_the_name_of_a_font_decides_whether_it_is_held_out(letters):
    for split in ("train", "test"):
        fonts = pq.read_table(LETTERS / f"{split}.parquet", columns=["font"])["font"].unique().to_pylist()
        assert all(letters.is_held_out(font) == (split == "test") for font in fonts)
