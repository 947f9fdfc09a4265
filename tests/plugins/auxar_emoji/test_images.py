"""Tests of how drawings become images, which images are left out, and which are held out."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from auxar_emoji import rendering, splits
from auxar_emoji.catalog import Emoji


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


@pytest.fixture
def small_resvg(monkeypatch):
    monkeypatch.setattr(rendering, "rasterize", rasterize)


@pytest.mark.parametrize("box", [(8, 8, 56, 32), (0, 40, 24, 64), (20, 1, 50, 63)])
def test_a_drawing_is_centered_and_its_longer_side_has_30_pixels(small_resvg, box):
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


def test_pairs_of_near_images_are_all_found():
    images = np.random.default_rng(0).integers(0, 254, (6, 32, 32, 3), dtype=np.uint8)
    images[3] = images[1] + 2
    assert splits.near(images, 2.001) == [(1, 3)]
    assert splits.near(images, 2.0) == []


def test_the_first_of_nearly_equal_images_is_kept():
    # Image 2 is near image 1 only, which is left out itself.
    assert splits.without_equal(4, [(0, 1), (1, 2)]) == [0, 2, 3]


def test_emoji_that_most_vendors_have_are_held_out_unless_they_are_similar_to_others():
    emoji = [Emoji(code, code, "heart") for code in ("1", "2", "2", "3", "3", "4")]
    emoji += [Emoji(f"a{number}", "", "drink") for number in range(45)]
    assert splits.held_out(emoji[:6], []) == {min("23", key=splits.order)}
    assert splits.held_out(emoji[:6], [(1, 3), (1, 2)]) == {min("14", key=splits.order)}
    assert splits.held_out(emoji[:6], [(1, 2), (3, 4)]) == {min("23", key=splits.order)}
    assert len(splits.held_out(emoji[6:], [])) == 2
