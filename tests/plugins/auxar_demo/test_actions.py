"""Tests of the demo page's actions: pictures that they return, and uploads that they refuse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import auxar
from auxar.errors import UserError
from auxar_demo.actions import Demo

RECIPES = {
    "pyramid": "tight/small/table1/pyramid",
    "grayscale": "small/grayscale_cifar10",
    "plain": "small/table1/plain",
}


@pytest.fixture(scope="module", params=RECIPES)
def demo(request) -> Demo:
    torch.manual_seed(0)
    settings = ["data.path=emoji", "image={ height = 8, width = 8 }"]
    return Demo(auxar.build(RECIPES[request.param], settings))


@pytest.fixture
def upload(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    return tmp_path / "mine.png"


def test_samples_are_those_of_the_model(demo):
    picture, about = demo.sample(4, "ancestral", 3)
    assert about == "4 images, rule ancestral, seed 3"
    expected = demo.model.sample(4, rule="ancestral", seed=3).sheet()
    assert np.array_equal(np.asarray(picture), np.asarray(expected))


def test_an_upload_is_shown_as_the_model_sees_it(demo, upload):
    image = demo.prepare(upload)
    assert (image.shape, image.dtype) == ((1, 3, 8, 8), torch.uint8)
    shown, zoom = np.asarray(demo.picture(image)), demo.zoom
    assert len(shown) == 8 * zoom
    assert np.array_equal(shown[::zoom, ::zoom], image[0].permute(1, 2, 0).numpy())
    part = np.asarray(demo.picture(image, (1, 2, 8, 5)))[::zoom, ::zoom].copy()
    assert (part[2:5, 1:8] == 128).all()
    part[2:5, 1:8] = shown[::zoom, ::zoom][2:5, 1:8]
    assert np.array_equal(part, shown[::zoom, ::zoom])


def test_views_are_colored_and_enlarged_where_the_model_has_them(demo, upload):
    specs = demo.model.chain.specs
    assert demo.colorizes == (specs[-1].channels == 1)
    assert demo.enlarges == (specs[-1].height < 8)
    image = demo.prepare(upload)
    for able, action, method in (
        (demo.colorizes, demo.colorize, demo.model.colorize),
        (demo.enlarges, demo.enlarge, demo.model.enlarge),
    ):
        if able:
            picture, about = action(image, 2, "map", 1)
            assert about.endswith("2 draws; rule map, seed 1")
            assert np.array_equal(np.asarray(picture), np.asarray(method(image, 2, rule="map", seed=1).sheet()))


def test_a_part_is_drawn_anew(demo, upload):
    image = demo.prepare(upload)
    picture, _ = demo.complete(image, (1, 2, 6, 5), 2, "ancestral", 5)
    rows, columns = torch.arange(8)[:, None], torch.arange(8)
    keep = (rows < 2) | (rows >= 5) | (columns < 1) | (columns >= 6)
    expected = demo.model.complete(image, keep, 2, rule="ancestral", seed=5).sheet()
    assert np.array_equal(np.asarray(picture), np.asarray(expected))


def test_the_bits_of_an_image_are_measured(demo, upload):
    image = demo.prepare(upload)
    picture, about = demo.measure(image)
    bits = float(demo.model.bits_per_dim(image))
    assert f"{bits:.3f} bits/dim**" in about
    assert ("at most" in about) is not demo.model.exact
    assert "| PNG |" in about
    brightness = np.asarray(picture).astype(int).sum(2)[:: demo.zoom, :: demo.zoom]
    found = demo.model.pixel_bits(image)[0].numpy()
    assert brightness.argmax() == found.argmax()
    assert (np.diff(brightness.flatten()[found.flatten().argsort()]) >= -3).all(), "brighter pixels have more bits"


def test_uploads_that_are_no_pictures_are_refused(demo, upload, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'/>")
    (tmp_path / "cut.png").write_bytes(upload.read_bytes()[:100])
    for name in ("text.png", "page.svg", "cut.png"):
        with pytest.raises(UserError) as error:
            demo.prepare(tmp_path / name)
        assert str(error.value).startswith(name), error.value
        assert str(tmp_path) not in str(error.value)


LABEL = ["condition.kind=label", "condition.column=y", 'condition.names=["cat", "dog"]']
ATTRIBUTES = ["condition.kind=attributes", "condition.column=y", 'condition.names=["red", "big"]']


def conditioned(settings: list[str]) -> Demo:
    settings = ["data.path=emoji", "image={ height = 8, width = 8 }", *settings]
    return Demo(auxar.build(RECIPES["pyramid"], settings))


def sheet_of(images) -> np.ndarray:
    return np.asarray(images.sheet())


@pytest.mark.parametrize("drop", [0.0, 0.1])
def test_a_label_is_chosen(upload, drop):
    demo = conditioned([*LABEL, f"condition.drop={drop}"])
    image, model = demo.prepare(upload), demo.model
    assert demo.classes == ["all", *(["none"] if drop else []), "cat", "dog"]
    assert not demo.attributes
    for label, condition in (("dog", "dog"), ("all", ["cat", "dog"])):
        expected = sheet_of(model.sample(4, condition=condition, seed=3))
        assert np.array_equal(np.asarray(demo.sample(4, "ancestral", 3, label)[0]), expected)
    drawn = sheet_of(model.enlarge(image, 2, condition="cat", seed=3))
    assert np.array_equal(np.asarray(demo.enlarge(image, 2, "ancestral", 3, "cat")[0]), drawn)
    assert f"{model.bits_per_dim(image, condition='cat').item():.3f} bits/dim" in demo.measure(image, "cat")[1]
    if drop:
        for label in ("none", "all"):
            assert f"{model.bits_per_dim(image, condition='none').item():.3f} bits/dim" in demo.measure(image, label)[1]
    else:
        with pytest.raises(UserError, match="requires a condition"):
            demo.measure(image, "all")
    with pytest.raises(UserError, match="owl"):
        demo.sample(1, "map", 0, "owl")


def test_attributes_are_chosen(upload):
    demo = conditioned(ATTRIBUTES)
    assert demo.attributes == ["red", "big"]
    picture, _ = demo.sample(3, "ancestral", 3, ["big"])
    expected = demo.model.sample(3, condition=["big"], seed=3).sheet()
    assert np.array_equal(np.asarray(picture), np.asarray(expected))
    assert demo.sample(1, "ancestral", 3, [])[1] == "1 image, rule ancestral, seed 3"
    image = demo.prepare(upload)
    bits = f"{demo.model.bits_per_dim(image, condition=[[]]).item():.3f} bits/dim"
    assert bits in demo.measure(image, [])[1]
    with pytest.raises(UserError, match="small"):
        demo.sample(1, "map", 0, ["small"])


def test_a_picture_is_classified(upload):
    demo = conditioned(LABEL)
    image = demo.prepare(upload)
    picture, table = demo.classify(image)
    found = demo.model.classify(image)
    best = found.names_of_labels[0]
    assert table.splitlines()[2] == f"| {best} | {found.probabilities.max().item():.3f} |"
    assert "from exact p(X" in table
    assert picture.size == demo.picture(image).size


def test_unnamed_classes_are_numbers():
    demo = conditioned(["condition.kind=label", "condition.column=y", "condition.classes=3"])
    assert demo.classes[-3:] == ["0", "1", "2"]
    expected = demo.model.sample(2, condition=2, seed=3).sheet()
    assert np.array_equal(np.asarray(demo.sample(2, "ancestral", 3, "2")[0]), np.asarray(expected))
