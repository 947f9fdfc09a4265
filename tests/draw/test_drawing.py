"""Tests of drawing with `ImageModel`: the same images as the commands draw, given images, and mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.causal_networks import random_images, randomized
from helpers.tiny_runs import arrays_of
from PIL import Image

import auxar
from auxar.draw.image_model import ImageModel
from auxar.draw.images import Images
from auxar.draw.sheets import to_uint8
from auxar.errors import UserError
from auxar.model import Ancestral, CausalDistribution, Chain, Factor, ImageSpec, SampleRequest
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_rules import Map, Reduced
from auxar_samplers import RasterSampler


@pytest.fixture(scope="module")
def finished(grayscale_run, tmp_path_factory) -> Path:
    """A copy of `grayscale_run`, which the tests of this file share."""
    return Path(shutil.copytree(grayscale_run, tmp_path_factory.mktemp("finished") / "run"))


@pytest.fixture(scope="module")
def model(finished) -> ImageModel:
    return auxar.load(finished)


@pytest.fixture(scope="module")
def files(pictures) -> list[Path]:
    return sorted(pictures.iterdir())[:2]


@pytest.fixture
def drawn(finished, tmp_path):
    """Draws with `auxar sample --given`, and returns the arrays that it writes."""

    def drawn(**options):
        return arrays_of(auxar.sample(finished, out=tmp_path / "drawn", replace=True, **options))

    return drawn


def chain_of(*views):
    """Returns a model with random weights of a chain of views, all restricted."""
    light = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    stages = []
    for view in views:
        embedding = components.embedding(
            components.EmbeddingConfig(filters=2, blocks_per_group=1), view.view, view.image
        )
        decoder = CausalDistribution(components.light(light, view.image, embedding.features_channels))
        stages.append(Factor(decoder, view=view, embedding=embedding, restricted=True))
    found = Chain([*stages, Factor(CausalDistribution(components.light(light, views[-1].view)))])
    randomized(found, 3)
    return ImageModel(found)


COLOR = ImageSpec(height=6, width=4)
PYRAMID = PyramidView(PyramidConfig(2), COLOR)
GRAY = GrayscaleView(GrayscaleConfig(16), COLOR)


@pytest.fixture(scope="module")
def restricted() -> ImageModel:
    """6×4 color images, their gray values, and the means of these over squares."""
    return chain_of(GRAY, PyramidView(PyramidConfig(2), GRAY.view))


@pytest.fixture(scope="module")
def bare() -> ImageModel:
    """6×4 color images without views."""
    light = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    return ImageModel(Chain([Factor(CausalDistribution(components.light(light, COLOR)))]))


# The same images as the commands draw --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"), [("ancestral", Ancestral()), ("reduced:reduction=0.7", Reduced(0.7)), ("map", Map())]
)
def test_samples_are_those_of_the_command(finished, model, tmp_path, text, rule):
    options = {"rule": text, "seed": 5}
    folder = auxar.sample(finished, images=5, batch_size=2, out=tmp_path / "drawn", **options)
    images = model.sample(5, batch_size=2, **options)
    assert images.shape == (5, 3, 8, 8)
    for number, image in enumerate(images):
        with Image.open(folder / "images" / f"{number:06d}.png") as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(image.to_pil()))
    assert torch.equal(model.sample(2, first=3, rule=rule, seed=5, sampler="raster").tensor, images[3:].tensor)
    with torch.no_grad():
        expected = model.chain.draw(SampleRequest(tuple(range(5)), 5, rule), model.chain.sampler)
    assert torch.equal(expected, images.tensor)
    assert not torch.equal(model.sample(5, seed=6).tensor, images.tensor)
    # An image is drawn given its view, and has the noise of its number.
    again = model.draw_given(images.views[2], depth=2, draws=1, rule=rule, seed=5)
    assert torch.equal(again.tensor[:, 0], images.tensor)
    assert [view.shape for view in images.views] == [(5, 3, 8, 8), (5, 3, 4, 4), (5, 1, 4, 4)]


def test_draws_are_those_of_the_command(drawn, model, files, tmp_path):
    how = {"rule": {"name": "reduced", "reduction": 0.5}, "seed": 3}
    expected = drawn(given=files, images=3, **how)
    found = model.enlarge(files, draws=3, **how)
    assert np.array_equal(found, expected["images"])
    assert np.array_equal(found.given, expected["given"])
    assert np.array_equal(found.views[1][0], expected["view"][[0, 0, 0]])

    expected = drawn(given=files, stage=1)
    found = model.colorize(files)
    assert np.array_equal(found, expected["images"])
    assert np.array_equal(found.view, expected["view1"])
    assert found.views[2].shape == (2, 4, 1, 4, 4)

    expected = drawn(given=files, keep="3")
    found = model.complete(files, 3)
    assert np.array_equal(found, expected["images"])
    assert np.array_equal(found.known, expected["known"])
    assert np.array_equal(found.views[2], expected["view2"])

    views = model.views(files)
    small = [tmp_path / name for name in ("0.png", "1.png")]
    for file, view in zip(small, views[1], strict=True):
        view.to_pil().save(file)
    expected = drawn(given=small, as_view=True, images=1)
    for given in (small, [Image.open(file) for file in small], views[1], views[1].tensor, views[1].numpy()):
        assert np.array_equal(model.enlarge(given, 1), expected["images"])
        assert np.array_equal(model.draw_given(given, 1, 1), expected["images"])


def test_the_sheet_of_draws_is_that_of_the_command(finished, model, files, tmp_path):
    folder = auxar.sample(finished, given=files, keep=3, out=tmp_path / "drawn")
    with Image.open(folder / "samples.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(model.complete(files, 3).sheet()))


# Given images --------------------------------------------------------------------------------------------------------


def test_every_image_of_a_restricted_model_has_the_given_view(restricted):
    view = random_images(3, GRAY.view, 1)
    found = restricted.draw_given(view, draws=3)
    own = GRAY(found.tensor.flatten(0, 1)).view(3, 3, *GRAY.view.shape)
    assert torch.equal(own, view[:, None].expand_as(own))
    assert torch.equal(found.view.tensor, own)
    # The gray view of this model lies above a smaller one.
    finer = restricted.enlarge(restricted.chain.views(random_images(2, COLOR), 2)[2])
    assert [images.shape for images in finer.views] == [(2, 4, 3, 6, 4), (2, 4, 1, 6, 4), (2, 4, 1, 3, 2)]
    assert torch.equal(GRAY(finer.tensor.flatten(0, 1)), finer.view.tensor.flatten(0, 1))


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
    picture = Image.fromarray(255 * mask.numpy().astype(np.uint8))
    picture.save(tmp_path / "mask.png")
    expected = bare.complete(images, mask)
    assert torch.equal(expected.known, mask.expand(2, 6, 4))
    assert (expected.tensor == images[:, None])[:, :, :, mask].all()
    for keep in (mask.numpy(), mask.expand(2, 6, 4), picture, tmp_path / "mask.png", str(tmp_path / "mask.png")):
        assert torch.equal(bare.complete(images, keep).tensor, expected.tensor)
    for rows in (1, 5, np.int64(5)):
        assert torch.equal(bare.complete(images, rows).known, (torch.arange(6) < rows)[:, None].expand(2, 6, 4))


def test_pictures_of_other_sizes_are_prepared_as_the_recipe_says(finished, files, tmp_path):
    recipe, registry = auxar.load_recipe(finished / "recipe.toml", ["data.resize=cover"])
    model = ImageModel(auxar.load(finished).chain, recipe, registry)
    with Image.open(files[0]) as picture:
        large = picture.resize((16, 16), Image.Resampling.NEAREST)
    for found in (model.colorize(large), model.complete(large, 2)):
        assert found.given.shape == (1, 3, 8, 8)
    with pytest.raises(UserError, match=r"images: the picture has 16×16 pixels; expected 4×4; images are expected"):
        model.enlarge(large)


def test_the_defaults_of_drawing(model, bare, monkeypatch):
    assert bare.chain.sampler is None  # A model without a recipe uses the usual sampler.
    assert torch.equal(bare.sample(2).tensor, bare.sample(2, sampler=RasterSampler()).tensor)
    assert model.sample(0).shape == (0, 3, 8, 8)
    assert [view.shape for view in model.sample(0).views[1:]] == [(0, 3, 4, 4), (0, 1, 4, 4)]
    shown = []

    def progress_bar(**options):
        shown.append(options)
        return Bar()

    monkeypatch.setattr("auxar.draw.drawing.progress_bar", progress_bar)
    model.sample(3, batch_size=2)
    model.complete(random_images(1, model.image), 1, 3, progress=False)
    assert [(options["total"], options["disable"]) for options in shown] == [(3, False), (3, True)]
    assert all(options["delay"] > 1 for options in shown)


class Bar:
    """A progress bar that shows nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def update(self, count):
        return None

    def set_postfix_str(self, text, refresh):
        return None


# Mistakes ------------------------------------------------------------------------------------------------------------

IMAGES = random_images(2, ImageSpec(height=8, width=8))
MISTAKES = {
    "n: expected an integer from 0 to 1,000,000,000, got -1": lambda model: model.sample(-1),
    "n: expected an integer from 0 to 1,000,000,000, got True": lambda model: model.sample(True),
    "n: expected an integer from 0 to 1,000,000,000, got 2.0": lambda model: model.sample(2.0),
    "n: expected an integer from 0 to 1,000,000,000, got '4'": lambda model: model.sample("4"),
    "first: expected an integer from 0 to": lambda model: model.sample(1, first=-1),
    "seed: expected an integer, got 0.5 (float)": lambda model: model.sample(1, seed=0.5),
    "batch_size: expected an integer from 1 to": lambda model: model.sample(1, batch_size=0),
    "sampler: no sampler is named 'rastr'; did you mean 'raster'?": lambda model: model.sample(1, sampler="rastr"),
    'sampler: expected a sampler, "NAME" or': lambda model: model.sample(1, sampler=3),
    "rule: unknown key 'temperature' (known: min_weight, reduction)": (
        lambda model: model.sample(1, rule="reduced:temperature=0.5")
    ),
    "rule: the rule 'tempered' changes nothing: the heads of this model are": (
        lambda model: model.sample(1, rule="tempered")
    ),
    "rule: the rule 'tempered' changes nothing: the heads of the factors that are drawn are": (
        lambda model: model.enlarge(IMAGES, rule="tempered:temperature=0.5")
    ),
    "rule: no rule is named 'maps'; did you mean 'map'?": lambda model: model.sample(1, rule="maps"),
    "progress: expected True or False": lambda model: model.sample(1, progress=None),
    "draws: expected an integer from 1 to 1,000,000,000, got 0": lambda model: model.complete(IMAGES, 1, 0),
    "draws times the number of given images": lambda model: model.complete(IMAGES, 1, 10**9),
    "keep: expected an integer from 1 to 7, got 8": lambda model: model.complete(IMAGES, 8),
    "keep: expected an integer from 1 to 7, got True": lambda model: model.complete(IMAGES, True),
    "keep: expected a tensor or an array of integers, a Pillow image": lambda model: model.complete(IMAGES, None),
    "keep: expected one mask, or one for each of 2 images, got 3": (
        lambda model: model.complete(IMAGES, torch.ones(3, 8, 8, dtype=torch.bool))
    ),
    "keep: the picture has 4×4 pixels; expected 8×8": lambda model: model.complete(IMAGES, Image.new("L", (4, 4))),
    "keep: there is no file or folder mask.png": lambda model: model.complete(IMAGES, "mask.png"),
    "depth: expected an integer from 1 to 2, got 3": (lambda model: model.draw_given(IMAGES, depth=3)),
    "images: expected shape (n, 3, 4, 4) or (3, 4, 4), got (1, 3, 5, 5); images are expected to": (
        lambda model: model.enlarge(torch.zeros(1, 3, 5, 5, dtype=torch.uint8))
    ),
    "images: the picture has 5×5 pixels; expected 4×4; images are expected to be 4×4×3 with 256 levels or": (
        lambda model: model.colorize(Image.new("L", (5, 5)))
    ),
    "images: got images of 4×4×1 with 256 levels; expected 4×4×3 with 256 levels; images are": (
        lambda model: model.enlarge(Images(torch.zeros(1, 1, 4, 4, dtype=torch.int64), ImageSpec(1, height=4, width=4)))
    ),
    "images: expected images of one kind and size, got several": (
        lambda model: model.enlarge([Image.new("RGB", (4, 4)), Image.new("RGB", (8, 8))])
    ),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_user_errors(model, message):
    with pytest.raises(UserError) as caught:
        MISTAKES[message](model)
    assert str(caught.value).startswith(message)


def test_a_model_without_the_view_names_its_views(bare):
    images = random_images(1, COLOR)
    with pytest.raises(UserError, match="depth: this model has no views to draw from"):
        bare.draw_given(images)
    for draw, needed in ((bare.enlarge, "enlarging"), (bare.colorize, "coloring")):
        with pytest.raises(UserError, match=f"^{needed} needs a .*view.*; the views of this model are: none"):
            draw(images)
    with pytest.raises(UserError, match=r"; the views of this model are: 3×2×3 with 256 levels$"):
        chain_of(PYRAMID).colorize(images)


def test_a_picture_shows_the_values_of_its_view(model):
    view = random_images(1, model.chain.specs[2], 7)
    picture = Image.fromarray(to_uint8(view, model.chain.specs[2])[0])
    assert torch.equal(model.draw_given(picture, depth=2).views[2].tensor[:, 0], view)
    # The pixels 16 … 31 show level 1 of 16 levels, of which auxar writes 17.
    assert (model.draw_given(Image.new("L", (4, 4), 16), depth=2, draws=1).views[2].tensor == 1).all()


def test_pictures_whose_pixels_are_levels_are_given_as_they_are(tmp_path):
    model = chain_of(PyramidView(PyramidConfig(2), ImageSpec(height=4, width=4, levels=16)))
    model.chain.picture_values = "levels"
    image = torch.arange(48).view(1, 3, 4, 4) % 16
    Image.fromarray(image[0].permute(1, 2, 0).numpy().astype(np.uint8)).save(tmp_path / "levels.png")
    for given in (image.to(torch.uint8), tmp_path / "levels.png"):
        drawn = model.enlarge(given, seed=1)
        assert torch.equal(drawn.given.tensor, image)
        assert torch.equal(drawn.tensor, model.enlarge(image, seed=1).tensor)
