"""Images of other sizes than the model's: likelihoods, draws and `auxar sample --size`."""

import math

import numpy as np
import pytest
import torch
from helpers.causal_networks import random_images
from helpers.image_kinds import orientation
from helpers.tiny_runs import arrays_of
from PIL import Image

import auxar
from auxar.cli import main
from auxar.draw.any_size import at_size_of
from auxar.errors import UserError
from auxar.files import read_json
from auxar.model import ImageSpec


@pytest.fixture(scope="module")
def model(finished):
    return auxar.load(finished)


def images_of(height, width, count=1, seed=0):
    return random_images(count, ImageSpec(height=height, width=width), seed)


def test_images_of_another_size_are_those_of_the_model_at_their_size(model):
    images = images_of(5, 11, 3)
    other = model.at(5, 11)
    assert torch.equal(model.log_prob(images), other.log_prob(images))
    assert torch.equal(model.pixel_bits(images), other.pixel_bits(images))
    assert [view.shape[1:] for view in model.views(images)] == [spec.shape for spec in other.chain.specs]
    assert model.complete(images, keep=2, draws=1, seed=1).shape == (3, 1, 3, 5, 11)
    with torch.no_grad():
        expected = other.chain.double().log_prob(images)
    assert torch.allclose(other.log_prob(images), expected)


def test_several_sizes_in_one_call(model):
    """Every image has the bits that it has alone, in the order in which the images were given."""
    small, wide, own = images_of(3, 4, 2), images_of(5, 12, 1, 1), images_of(8, 8, 3, 2)
    picture = Image.fromarray(np.asarray(images_of(7, 3)[0].permute(1, 2, 0), np.uint8))
    given = [small, own, picture, wide, small[:1]]
    alone = torch.cat([model.bits_per_dim(each) for each in given])
    assert len(alone) == 8
    assert torch.allclose(model.bits_per_dim(given), alone, rtol=1e-6)
    assert torch.allclose(model.log_prob(given)[:2], model.at(3, 4).log_prob(small), rtol=1e-6)
    assert torch.allclose(alone[:2], model.log_prob(small) / (-math.log(2) * 3 * 3 * 4))
    with pytest.raises(UserError, match="expected images of one size, got 3×4, 8×8; log_prob and bits_per_dim"):
        model.pixel_bits([small, own])


def test_a_picture_that_its_exif_data_turn_has_the_size_that_viewers_show(model, tmp_path):
    pixels = images_of(3, 7)
    Image.fromarray(np.asarray(pixels[0].permute(1, 2, 0), np.uint8)).rotate(90, expand=True).save(
        tmp_path / "turned.png", exif=orientation(6)
    )
    for picture in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        assert torch.equal(model.bits_per_dim(picture), model.bits_per_dim(pixels))


def test_conditions_stay_with_their_images(pictures):
    settings = ["condition.kind=label", "condition.column=label", 'condition.names=["cat", "dog"]', "image.height=8"]
    settings += ["image.width=8", "data.resize=none", "condition.prior={ name='pixelcnn', head='softmax' }"]
    labeled = auxar.build("quickstart", settings)
    for parameter in labeled.chain.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    given, labels = [images_of(3, 4, 2), images_of(8, 8), images_of(3, 4)], ["cat", "dog", "dog", "cat"]
    found = labeled.bits_per_dim(given, condition=labels)
    assert torch.allclose(found[1:2], labeled.bits_per_dim(given[0][1:], condition="dog"))
    for at, images in ((2, given[1]), (3, given[2])):
        assert torch.allclose(found[at : at + 1], labeled.bits_per_dim(images, condition=labels[at]))
    assert torch.equal(labeled.classify(given[2]).log_prior, labeled.classify(given[1]).log_prior)


def test_small_images_are_enlarged_from_their_own_size(model):
    small = images_of(3, 5)
    drawn = model.enlarge(small, draws=2, seed=3)
    assert drawn.shape == (1, 2, 3, 6, 10)
    assert torch.equal(drawn.view.tensor[0, 0], small[0])
    assert torch.equal(drawn.tensor, model.at(6, 10).draw_given(small, draws=2, seed=3).tensor)
    odd = model.at(5, 9).draw_given(small, draws=1)
    assert odd.shape == (1, 1, 3, 5, 9)


def test_views_of_a_model_with_odd_sizes_have_the_size_of_their_factors(pictures):
    """30×30 has views of 15×15 and 8×8, so that 16×16 views at depth 2 are those of 64×64."""
    size = "image={ height = 30, width = 30 }"
    model = auxar.build("quickstart", [size])
    assert [spec.height for spec in model.chain.specs] == [30, 15, 8]
    assert model.draw_given(images_of(6, 4), depth=2, draws=1, rule="map").shape == (1, 1, 3, 24, 16)
    assert at_size_of(model, images_of(8, 8), 2) is model


def test_a_recipe_that_resizes_pictures_still_does(finished, pictures):
    settings = ["data.resize=cover"]
    model = auxar.build(finished / "recipe.toml", settings)
    picture = Image.new("RGB", (30, 20))
    assert torch.equal(model.views(picture)[0].tensor, model.prepare(picture).long())
    assert model.views(images_of(5, 6))[0].shape == (1, 3, 5, 6)
    assert len(model.log_prob([images_of(5, 6), images_of(8, 8)])) == 2
    with pytest.raises(UserError, match=r"images: the picture has 20×30 pixels; expected 4×4; images are expected to"):
        model.enlarge(picture)


def test_a_model_of_one_size_refuses_others():
    model = auxar.build("quickstart", ["image={ height = 8, width = 8 }", "prior={ name = 'transformer', width = 8 }"])
    with pytest.raises(UserError, match="prior: TransformerNetwork has one size"):
        model.at(8, 12)
    with pytest.raises(UserError, match=r"expected shape \(n, 3, 8, 8\)"):
        model.bits_per_dim(images_of(8, 12))


def test_the_command_draws_images_of_a_size(finished, tmp_path, refused, capsys):
    assert main(["sample", str(finished), "-n", "2", "--size", "5x12", "--set", "sampling.rule=ancestral"]) == 0
    folder = finished / "samples" / "5x12-ancestral-seed0"
    assert Image.open(folder / "images" / "000001.png").size == (12, 5)
    expected = auxar.load(finished).at(5, 12).sample(2)
    assert np.array_equal(np.asarray(Image.open(folder / "images" / "000001.png")), expected.to_pil()[1])
    key = read_json(folder / "samples.json")["key"]
    assert main(["sample", str(finished), "-n", "2", "--size", "6x12", "--out", str(tmp_path / "other")]) == 0
    assert read_json(tmp_path / "other" / "samples.json")["key"] != key
    assert "--size: expected HEIGHTxWIDTH, such as 96x64, got '5'" in refused("sample", finished, "--size", "5")


def test_the_command_enlarges_a_picture_of_its_own_size(finished, tmp_path):
    picture = Image.fromarray(np.asarray(images_of(3, 7)[0].permute(1, 2, 0), np.uint8))
    picture.save(tmp_path / "small.png")
    for options, size in ((["--as-view"], (14, 6)), ([], (7, 3)), (["--keep", "1"], (7, 3))):
        out = tmp_path / f"out{len(options)}"
        given = ["--given", str(tmp_path / "small.png"), *options]
        assert main(["sample", str(finished), "-n", "1", *given, "--out", str(out)]) == 0
        drawn = Image.open(next((out / "images").iterdir()))
        assert drawn.size == size
        assert arrays_of(out)["images"].shape[-2:] == size[::-1]
