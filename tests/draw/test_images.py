"""Tests of the results of drawing: indexing, conversions, pictures, notebooks and files."""

import io

import numpy as np
import pytest
import torch
from helpers.causal_networks import random_images
from helpers.sheets import cells, enlarged
from helpers.tiny_runs import snapshot
from PIL import Image

import auxar
from auxar.draw.images import Draws, Images
from auxar.draw.sheets import sheet, to_uint8
from auxar.errors import UserError
from auxar.model import ImageSpec

SPEC = ImageSpec(height=4, width=6, levels=32)
GRAY = ImageSpec(1, height=2, width=3, levels=7)


@pytest.fixture
def images():
    return Images(random_images(70, SPEC), SPEC, Images(random_images(70, GRAY, 1), GRAY))


@pytest.fixture
def draws():
    view = random_images(3, GRAY, 1)[:, None].expand(-1, 10, -1, -1, -1)
    given = Images(random_images(3, SPEC, 2), SPEC)
    return Draws(random_images(30, SPEC).view(3, 10, *SPEC.shape), SPEC, Images(view, GRAY), given)


def shown(image):
    return np.asarray(Image.open(io.BytesIO(image._repr_png_())))


def test_an_index_selects_images_and_their_views(images, draws):
    assert auxar.Images is Images
    assert auxar.Draws is Draws
    assert len(images) == 70
    slices = (slice(3, 5), [3, 4]), (slice(None, 67, -1), [69, 68])
    for index, numbers in (*slices, ([1, -1], [1, 69]), (np.array([2]), [2]), (torch.arange(2), [0, 1])):
        assert torch.equal(images[index].tensor, images.tensor[numbers])
        assert torch.equal(images[index].view.tensor, images.view.tensor[numbers])
    assert torch.equal(images[images.tensor[:, 0, 0, 0] > 16].tensor, images.tensor[images.tensor[:, 0, 0, 0] > 16])
    singles = list(images)
    assert len(singles) == 70
    assert torch.equal(singles[-1].tensor, images.tensor[69])
    assert singles[4].view.shape == (1, 2, 3)
    assert torch.equal(draws[1].tensor, draws.tensor[1])
    assert type(draws[1]) is Images
    assert torch.equal(draws[1:].given.tensor, draws.given.tensor[1:])
    assert draws[0][3].shape == SPEC.shape
    with pytest.raises(IndexError):
        images[70]
    for wrong in ((0, 1), "a", 1.0, None):
        with pytest.raises(TypeError):
            images[wrong]
    for wrong_of_one in (len, list, lambda image: image[0]):
        with pytest.raises(TypeError, match="a single image"):
            wrong_of_one(images[0])


def test_images_are_arrays_and_pictures(images, draws):
    assert np.array_equal(np.asarray(images), images.tensor.numpy())
    assert np.asarray(images, np.float32).dtype == np.float32
    copy = np.array(images)
    copy[:] = 0
    assert images.tensor.any()
    assert images.numpy().dtype == np.int64
    colors = to_uint8(images.tensor, SPEC)
    pictures = images.to_pil()
    assert all(np.array_equal(np.asarray(picture), rgb) for picture, rgb in zip(pictures, colors, strict=True))
    assert (pictures[0].mode, images.view[0].to_pil().mode) == ("RGB", "L")
    assert [len(row) for row in draws.to_pil()] == [10, 10, 10]
    assert np.array_equal(np.asarray(images.sheet(5, 3)), np.asarray(sheet(images.tensor, SPEC, 5, 3)))


def test_a_notebook_shows_a_sheet_of_at_most_64_images(images, draws):
    assert np.array_equal(shown(images[:64]), np.asarray(images[:64].sheet()))
    part, first = shown(images), np.asarray(images[:64].sheet())
    assert np.array_equal(part[: first.shape[0], : first.shape[1]], first)
    assert part.shape[0] > first.shape[0]
    assert shown(images[0]).shape == shown(images[:1]).shape
    assert np.array_equal(shown(draws), np.asarray(draws.sheet()))
    assert draws.sheet().width < draws.sheet(columns=10, zoom=20).width
    many = Draws(random_images(34, SPEC).view(17, 2, *SPEC.shape), SPEC)
    assert shown(many).shape[0] > many[:16].sheet().height


def test_the_sheet_of_completed_images_shows_what_is_given_and_unknown_pixels_in_gray():
    spec = ImageSpec(height=8, width=8, levels=32)
    given, mask = random_images(2, spec), torch.rand(2, 8, 8) < 0.5
    draws = Draws(random_images(4, spec, 1).view(2, 2, *spec.shape), spec, None, Images(given, spec), mask)
    known = torch.where(mask[:, None], given, spec.levels // 2)
    for row, line in enumerate(cells(draws.sheet(), 2, 4, 128, 128)):
        for cell, image in zip(line, (given[row], known[row], *draws.tensor[row]), strict=True):
            assert np.array_equal(cell, enlarged(to_uint8(image[None], spec)[0], 128, 128))


def test_images_that_cannot_be_shown(images):
    two = ImageSpec(2, height=2, width=2)
    found = Images(random_images(2, two), two)
    assert found._repr_png_() is None
    for wrong in (found.to_pil, found.sheet):
        with pytest.raises(UserError, match="only images with 1 or 3 channels can be shown"):
            wrong()
    assert images[:0]._repr_png_() is None
    with pytest.raises(UserError, match="there are no images to show"):
        images[:0].sheet()


@pytest.mark.parametrize(
    "wrong", [torch.zeros(4, 6), torch.zeros(3, 4, 6), torch.full((3, 4, 6), 32), [[0]], np.ones((3, 4, 5), int)]
)
def test_values_have_to_fit(wrong):
    with pytest.raises(UserError, match="images: expected"):
        Images(wrong, SPEC)


def test_saved_pictures(images, draws, tmp_path):
    assert images[:3].save(tmp_path / "one" / "many") == tmp_path / "one" / "many"
    assert sorted(file.name for file in (tmp_path / "one" / "many").iterdir()) == [f"00000{k}.png" for k in range(3)]
    with Image.open(tmp_path / "one" / "many" / "000002.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(images[2].to_pil()))
    draws.save(str(tmp_path / "draws"))
    assert len(list((tmp_path / "draws").iterdir())) == 30
    with Image.open(tmp_path / "draws" / "000002-009.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(draws[2][9].to_pil()))
    images.save(tmp_path / "sheet.PNG")
    with Image.open(tmp_path / "sheet.PNG") as picture:
        assert picture.size == images.sheet().size
    images.save(tmp_path / "row.png", columns=len(images))
    with Image.open(tmp_path / "row.png") as picture:
        assert picture.size == images.sheet(columns=len(images)).size != images.sheet().size
    images[0].save(tmp_path / "single.png")
    with Image.open(tmp_path / "single.png") as picture:
        assert picture.size == (6, 4)


def test_no_file_is_replaced(images, tmp_path):
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "a.png").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes").write_text("mine")
    before = snapshot(tmp_path)
    for name in ("a.png", "folder", "notes"):
        with pytest.raises(UserError, match=f"{name} exists; images are "):
            images.save(tmp_path / name)
    with pytest.raises(UserError, match=r"a\.jpg: images are saved as PNG; expected a name that ends in \.png"):
        images.save(tmp_path / "a.jpg")
    assert snapshot(tmp_path) == before
