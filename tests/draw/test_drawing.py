"""Tests of drawing with `ImageModel`: the same images as the commands draw, given images, and mistakes."""

import pickle
import sys

import numpy as np
import pytest
import torch
from helpers.causal_networks import random_images, randomized
from helpers.chains import chain_of, grayscale, pyramid
from helpers.tiny_runs import call, said
from PIL import Image

import auxar
from auxar.draw.image_model import ImageModel
from auxar.draw.images import Images
from auxar.draw.sheets import to_uint8
from auxar.errors import UserError
from auxar.model import ImageSpec


@pytest.fixture(scope="module")
def model(grayscale_run) -> ImageModel:
    return auxar.load(grayscale_run)


UNPICKLED = """
import pathlib, pickle, torch
for model, drawn, nats in pickle.loads(pathlib.Path("models").read_bytes()):
    assert torch.equal(model.sample(2).tensor, drawn) and torch.equal(model.log_prob(drawn), nats)
"""
COLOR = ImageSpec(height=6, width=4)
GRAY = grayscale(16)(COLOR)


@pytest.fixture(scope="module")
def restricted() -> ImageModel:
    """6×4 color images, their gray values, and the means of these over squares."""
    return ImageModel(randomized(chain_of(COLOR, grayscale(16), pyramid, restricted=True), 3))


@pytest.fixture(scope="module")
def bare() -> ImageModel:
    """6×4 color images without views."""
    return ImageModel(chain_of(COLOR))


def test_pickled_models_are_the_same_in_another_process(model, restricted, tmp_path):
    drawn = [own.sample(2).tensor for own in (model, restricted)]  # Samplers keep programs, which are pickled, too.
    found = [(own, images, own.log_prob(images)) for own, images in zip((model, restricted), drawn, strict=True)]
    (tmp_path / "models").write_bytes(pickle.dumps(found))
    assert call([sys.executable, "-c", UNPICKLED], tmp_path).stderr == ""


# Given images --------------------------------------------------------------------------------------------------------


def test_gray_and_color_images_are_colored(restricted):
    colors = random_images(2, COLOR, 4)
    grays = random_images(2, ImageSpec(1, height=6, width=4), 5)
    pictures = [Image.fromarray(gray[0].numpy().astype(np.uint8)) for gray in grays]
    found = restricted.colorize(colors)
    assert torch.equal(found.view.tensor[:, 0], GRAY(colors))
    assert torch.equal(found.given.tensor, colors)
    for given in (grays, grays[:, 0].numpy(), pictures, [picture.convert("RGB") for picture in pictures]):
        found = restricted.colorize(given, 1)
        assert torch.equal(found.view.tensor[:, 0], GRAY(grays.expand(-1, 3, -1, -1)))
    # Gray views have fewer levels than images, and are used as they are.
    views = restricted.views(colors)
    found = restricted.colorize(views[1], 2)
    assert torch.equal(found.view.tensor[:, 1], views[1].tensor)
    assert found.given is None


def test_images_are_colored_at_the_size_at_which_they_become_gray(model):
    small = random_images(2, model.chain.specs[1], 6)
    found = model.colorize(small)
    assert found.shape == (2, 4, 3, 8, 8)
    assert torch.equal(found.given.tensor, small)
    gray = model.chain.factors[1].view_of(small)
    assert torch.equal(found.views[2].tensor[:, 0], gray)
    assert torch.equal(model.draw_given(gray, depth=2).tensor, found.tensor)


def test_masks_of_many_kinds_keep_the_same_pixels(bare, tmp_path):
    images = random_images(2, COLOR)
    mask = torch.rand(6, 4) < 0.5
    picture = Image.fromarray(np.where(mask, 128, 127).astype(np.uint8))  # A pixel is kept where it is light.
    picture.save(tmp_path / "mask.png")
    expected = bare.complete(images, mask)
    assert torch.equal(expected.known, mask.expand(2, 6, 4))
    assert (expected.tensor == images[:, None])[:, :, :, mask].all()
    path = tmp_path / "mask.png"
    ones = Image.fromarray(mask.byte().numpy())
    for keep in (mask.numpy(), mask.byte(), mask.expand(2, 6, 4), picture, path, str(path), ones, [mask, 1 * mask]):
        assert torch.equal(bare.complete(images, keep).tensor, expected.tensor)
    for wrong in (0.5 * mask, 2 * mask, np.zeros((6, 4), [("kept", np.uint8)])):
        with pytest.raises(UserError, match="keep: expected a mask of booleans, of 0 and 1, or of 0 and 255"):
            bare.complete(images, wrong)
    for rows in (1, 5, np.int64(5)):
        assert torch.equal(bare.complete(images, rows).known, (torch.arange(6) < rows)[:, None].expand(2, 6, 4))


# Mistakes ------------------------------------------------------------------------------------------------------------

IMAGES = random_images(2, ImageSpec(height=8, width=8))
MISTAKES = {
    "n: expected an integer from 0 to 1,000,000,000, got -1": lambda model: model.sample(-1),
    "first: expected an integer from 0 to": lambda model: model.sample(1, first=-1),
    "seed: expected an integer, got 0.5 (float)": lambda model: model.sample(1, seed=0.5),
    "batch_size: expected an integer from 1 to": lambda model: model.sample(1, batch_size=0),
    "sampler: no sampler is named 'rastr'; did you mean 'raster'?": lambda model: model.sample(1, sampler="rastr"),
    'sampler: expected a sampler, "NAME" or': lambda model: model.sample(1, sampler=3),
    "rule: unknown key 'temperature' (known: min_weight, reduction)": (
        lambda model: model.sample(1, rule="reduced:temperature=0.5")
    ),
    "rule: the rule 'tempered' changes nothing: the heads of the factors that are drawn are": (
        lambda model: model.enlarge(IMAGES, rule="tempered:temperature=0.5")
    ),
    "progress: expected True or False": lambda model: model.sample(1, progress=None),
    "draws: expected an integer from 1 to 1,000,000,000, got 0": lambda model: model.complete(IMAGES, 1, 0),
    "draws times the number of given images": lambda model: model.complete(IMAGES, 1, 10**9),
    "keep: expected an integer from 1 to 7, got 8": lambda model: model.complete(IMAGES, 8),
    "keep: expected a tensor or an array of integers, a Pillow image": lambda model: model.complete(IMAGES, None),
    "keep: expected one mask, or one for each of 2 images, got 3": (
        lambda model: model.complete(IMAGES, torch.ones(3, 8, 8, dtype=torch.bool))
    ),
    "keep: the picture has 4×4 pixels; expected 8×8": lambda model: model.complete(IMAGES, Image.new("L", (4, 4))),
    "keep: there is no file or folder mask.png": lambda model: model.complete(IMAGES, "mask.png"),
    "depth: expected an integer from 1 to 2, got 3": (lambda model: model.draw_given(IMAGES, depth=3)),
    "images: got images of 4×4×1 with 256 levels; expected 4×4×3 with 256 levels; images are": (
        lambda model: model.enlarge(Images(torch.zeros(1, 1, 4, 4, dtype=torch.int64), ImageSpec(1, height=4, width=4)))
    ),
    "images: expected images of one kind and size, got several": (
        lambda model: model.enlarge([Image.new("RGB", (4, 4)), Image.new("RGB", (8, 8))])
    ),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_user_errors(model, message):
    assert said(MISTAKES[message], model).startswith(message)


def test_a_model_without_the_view_names_its_views(bare):
    images = random_images(1, COLOR)
    with pytest.raises(UserError, match="depth: this model has no views to draw from"):
        bare.draw_given(images)
    for draw, needed in ((bare.enlarge, "enlarging"), (bare.colorize, "coloring")):
        with pytest.raises(UserError, match=f"^{needed} needs a .*view.*; the views of this model are: none"):
            draw(images)
    with pytest.raises(UserError, match=r"; the views of this model are: 3×2×3 with 256 levels$"):
        ImageModel(chain_of(COLOR, pyramid)).colorize(images)


def test_a_picture_shows_the_values_of_its_view(model):
    view = random_images(1, model.chain.specs[2], 7)
    picture = Image.fromarray(to_uint8(view, model.chain.specs[2])[0])
    assert torch.equal(model.draw_given(picture, depth=2).views[2].tensor[:, 0], view)
    # The pixels 16 … 31 show level 1 of 16 levels, of which auxar writes 17.
    assert (model.draw_given(Image.new("L", (4, 4), 16), depth=2, draws=1).views[2].tensor == 1).all()
