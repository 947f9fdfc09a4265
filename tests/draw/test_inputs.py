"""Tests that images of all accepted types become the same integers, and that pictures are prepared like data."""

from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from helpers.tiny_runs import tiny, write
from PIL import Image, ImageOps

import auxar
from auxar.data.conversion import Preparation
from auxar.data.pixels import pixels
from auxar.draw.forms import usual_preparation
from auxar.draw.inputs import as_batch
from auxar.errors import UserError
from auxar.numerics.levels import VALUES as VALUES_OF_PICTURES
from auxar.recipe import Crop
from auxar.recipe.building import build_model

SPEC = auxar.ImageSpec(height=8, width=6)
GRAY = auxar.ImageSpec(1, height=8, width=6)
VALUES = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 6), np.uint8)
PICTURES = [Image.fromarray(values.transpose(1, 2, 0)) for values in VALUES]


@pytest.fixture
def folder(tmp_path):
    for number, picture in enumerate(PICTURES):
        picture.save(tmp_path / f"{number}.png")
    return tmp_path


KINDS = {
    "bytes": lambda folder: torch.from_numpy(VALUES),
    "integers": lambda folder: torch.from_numpy(VALUES).to(torch.int32),
    "channels first": lambda folder: VALUES,
    "a tensor with channels last": lambda folder: torch.from_numpy(VALUES).permute(0, 2, 3, 1),
    "channels last": lambda folder: VALUES.transpose(0, 2, 3, 1).astype(np.uint16),
    "mirrored twice": lambda folder: VALUES[:, :, ::-1].copy()[:, :, ::-1],
    "pictures": lambda folder: PICTURES,
    "a tuple": lambda folder: tuple(PICTURES),
    "paths": lambda folder: [folder / "0.png", str(folder / "1.png"), folder / "2.png"],
    "a folder": lambda folder: folder,
    "drawn": lambda folder: auxar.Images(torch.from_numpy(VALUES), SPEC),
    "mixed": lambda folder: [VALUES[:1], PICTURES[1], torch.from_numpy(VALUES[2])],
    "a column": lambda folder: datasets.Dataset.from_dict(
        {"image": PICTURES}, features=datasets.Features({"image": datasets.Image()})
    )["image"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_types_give_the_same_integers(folder, kind):
    found = as_batch(KINDS[kind](folder), SPEC)
    assert found.dtype in (torch.uint8, torch.int64)
    assert (found.shape, found.device.type) == ((3, 3, 8, 6), "cpu")
    assert (found.numpy() == VALUES).all()


@pytest.mark.parametrize("single", [torch.from_numpy(VALUES[0]), VALUES[0].transpose(1, 2, 0), PICTURES[0]])
def test_a_single_image_is_a_batch_of_one(single):
    assert (as_batch(single, SPEC).numpy() == VALUES[:1]).all()


@pytest.mark.parametrize("shape", [(3, 1, 8, 6), (3, 8, 6), (3, 8, 6, 1)])
def test_gray_images_need_no_dimension_of_channels(shape):
    gray = VALUES[:, :1]
    assert (as_batch(gray.reshape(shape), GRAY).numpy() == gray).all()
    assert (as_batch(gray[0, 0], GRAY).numpy() == gray[:1]).all()
    assert (as_batch(torch.from_numpy(gray[0, 0]), GRAY).numpy() == gray[:1]).all()
    with pytest.raises(UserError, match=r"got \(2, 9, 9\); gray images of other sizes are \(n, 1, h"):
        as_batch(np.zeros((2, 9, 9), np.uint8), GRAY)


def test_pictures_become_the_levels_of_the_model(folder):
    spec = auxar.ImageSpec(height=8, width=6, levels=5)
    expected = VALUES.astype(int) * 5 // 256
    assert (as_batch(PICTURES, spec).numpy() == expected).all()
    assert (as_batch(folder, spec).numpy() == expected).all()
    with pytest.raises(UserError, match=r"images: expected integers in \[0, 5\), got "):
        as_batch(VALUES, spec)


def turned() -> Image.Image:
    picture = PICTURES[0].transpose(Image.Transpose.ROTATE_90)
    picture.getexif()[0x0112] = 6
    return picture


@pytest.mark.parametrize(
    ("picture", "spec"),
    [
        (turned(), SPEC),
        (PICTURES[0].quantize(16), SPEC),
        (PICTURES[0].convert("1"), GRAY),
        (Image.fromarray(VALUES[0, 0].astype(np.uint16) * 257), GRAY),
    ],
    ids=["turned", "palette", "two values", "16 bits"],
)
def test_pillow_images_are_read_like_files(tmp_path, picture, spec):
    picture.save(tmp_path / "a.png", exif=picture.getexif())
    assert torch.equal(as_batch(picture, spec), as_batch(tmp_path / "a.png", spec))


def test_pillow_images_stay_open(tmp_path):
    PICTURES[0].convert("P").save(tmp_path / "a.gif", save_all=True, append_images=[PICTURES[1].convert("P")])
    with Image.open(tmp_path / "a.gif") as picture:
        first = as_batch(picture, SPEC)
        picture.seek(1)
        assert not torch.equal(as_batch(picture, SPEC), first)


def large(width=40, height=30) -> Image.Image:
    return Image.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 50).convert("RGB")


@pytest.fixture
def model(tmp_path):
    """Returns a function that makes an untrained model from a recipe with changed keys."""

    def made(**changes):
        recipe = auxar.load_recipe(write(tmp_path / "tiny.toml", tiny(Path("pictures"), **changes)))
        return auxar.ImageModel(build_model(recipe), recipe)

    return made


def test_pictures_of_another_size_are_resized_as_the_recipe_says(model, tmp_path):
    large().save(tmp_path / "a.png")
    found = model(data__resize="cover", data__crop={"left": 10})
    fitted = ImageOps.fit(large().crop((10, 0, 40, 30)), (8, 8), Image.Resampling.LANCZOS)
    expected = torch.from_numpy(np.array(fitted).transpose(2, 0, 1))[None]
    for given in (large(), tmp_path / "a.png"):
        assert torch.equal(found.prepare(given), expected)
        assert torch.equal(found.bits_per_dim(given), found.bits_per_dim(expected))
    small = large(8, 8)  # A picture that already has the size is neither cropped nor resized.
    assert torch.equal(found.bits_per_dim(small), found.bits_per_dim(np.array(small)))


def test_prepared_pictures_are_those_of_the_data(model, tmp_path):
    large().save(tmp_path / "a.png")
    found = model()
    preparation = Preparation(found.image, Crop(top=2), "stretch")
    expected = preparation((tmp_path / "a.png").read_bytes(), "a")
    pixels = np.array(large())
    kinds = [large(), tmp_path / "a.png", pixels, pixels[None], torch.from_numpy(pixels).permute(2, 0, 1)]
    for given in kinds:
        prepared = found.prepare(given, resize="stretch", crop={"top": 2})
        assert (prepared.dtype, prepared.shape) == (torch.uint8, (1, 3, 8, 8))
        assert (prepared[0].numpy() == expected).all()
    assert found.prepare(kinds, resize="cover").shape == (5, 3, 8, 8)
    gray = found.prepare(large().convert("L"), resize="cover")  # Gray becomes RGB, as in data.
    assert torch.equal(gray[:, 0], gray[:, 2])
    assert torch.equal(
        found.prepare(pixels[..., 0], resize="cover"), found.prepare(pixels[..., 0][None, None], resize="cover")
    )


def test_images_of_other_levels_are_refused():
    few = auxar.Images(torch.zeros(2, 3, 8, 6, dtype=torch.int64), auxar.ImageSpec(height=8, width=6, levels=16))
    for images, label in ((few, "images"), ([few], r"images\[0\]")):
        with pytest.raises(UserError, match=f"^{label}: got images of 8×6×3 with 16 levels; expected 8×6×3 with 256"):
            as_batch(images, SPEC)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("values", VALUES_OF_PICTURES)
def test_pictures_come_back_as_they_were(tmp_path, channels, values):
    for levels in range(2, 257):
        spec = auxar.ImageSpec(channels, height=2, width=levels, levels=levels)
        rising = torch.arange(levels).expand(channels, 1, levels)
        image = torch.cat([rising, rising.flip(0, 2).roll(1, 2)], 1)[None]
        picture = Image.fromarray(pixels(image, spec, values)[0])
        picture.save(tmp_path / "picture.png")
        for given in (picture, tmp_path / "picture.png"):
            assert torch.equal(as_batch(given, spec, usual_preparation(spec, values=values)).long(), image)


@pytest.mark.parametrize("kind", [{"channels": 2}, {"levels": 257}])
def test_no_picture_shows_images_of_other_channels_or_levels(folder, kind):
    spec = auxar.ImageSpec(**{"height": 8, "width": 6, **kind})
    with pytest.raises(UserError, match=f"0.png is a picture, which cannot show values of {spec}"):
        as_batch(folder, spec)


def test_pictures_of_16_bits_are_named_once_for_a_folder(tmp_path, caplog):
    for number in range(3):
        Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / f"{number}.png")
    found = as_batch(tmp_path, auxar.ImageSpec(1, height=8, width=8))
    assert found.unique().tolist() == [15]
    assert [text.partition(",")[0] for text in caplog.messages] == [f"pictures in {tmp_path} have 16 bits per channel"]
