"""Tests of pictures whose values are the levels themselves (`data.values = "levels"`), in integers and with labels."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.evaluations import nats_of
from helpers.one_by_one import OneByOne, random_run
from helpers.sheets import cells, enlarged
from PIL import Image

import auxar

LEVELS = 32


@pytest.fixture(scope="module")
def run(pictures_of, tmp_path_factory) -> Path:
    """A run with random weights, of which `auxar run` has made the integers, the evaluations, samples and figures."""
    folder = tmp_path_factory.mktemp("levels") / "pictures"
    folder.mkdir()
    for file in pictures_of["labels"].glob("*.png"):
        (folder / f"{file.stem}.txt").write_bytes(file.with_suffix(".txt").read_bytes())
        Image.fromarray(np.asarray(Image.open(file)) // (256 // LEVELS)).save(folder / file.name)
    changes = {"image__levels": LEVELS, "data__values": "levels", "arithmetic": "integer"}
    path = random_run(folder.parent, "labels", folder, **changes, sampling__figure_rows=1, sampling__seed=4)
    return auxar.run(path / "recipe.toml", out=path).path


def levels_in(folder: Path) -> list[torch.Tensor]:
    """The values of the pictures in a folder: int64, (1, c, h, w) each."""
    pictures = [np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))]
    return [torch.from_numpy(picture.transpose(2, 0, 1).astype(np.int64))[None] for picture in pictures]


@pytest.mark.parametrize("arithmetic", ["integer", "float"])
def test_drawn_pictures_have_the_levels_of_images(run, tmp_path, arithmetic):
    """Those of `auxar run` are in integers. Pictures that a command writes, another one reads again."""
    plain = OneByOne(run, arithmetic)
    folder = run / "samples"
    if arithmetic == "float":
        folder = auxar.sample(run, images=3, arithmetic="float", out=tmp_path / "out")
    found = levels_in(folder / "images")
    for number, image in enumerate(found):
        assert torch.equal(image, plain.drawn(number, 4, None, torch.full((1, 1, 1, 1), number))[0])
    assert LEVELS / 2 < max(int(image.max()) for image in found) < LEVELS
    sheet = cells(Image.open(folder / "samples.png"), 1, 3, 128, 128)[0]
    for cell, image in zip(sheet, found, strict=True):
        assert np.array_equal(cell, enlarged(colors_of(image[0]), 128, 128))
    options = {"given": [folder / "images"], "keep": 3, "images": 1, "arithmetic": arithmetic}
    completed = auxar.sample(run, **options, out=tmp_path / "completed")
    for image, known in zip(levels_in(completed / "images"), found, strict=True):
        assert torch.equal(image[:, :, :3], known[:, :, :3])
        assert not torch.equal(image, known)


def test_likelihoods_are_those_of_the_levels(run):
    data = auxar.load_images(auxar.load(run))
    for arithmetic, name in (("float", "evaluation"), ("integer", "evaluation-integer")):
        plain = OneByOne(run, arithmetic)
        examples = [example for _, example in data.heldout.every_example(1, 0, None)]
        expected = [plain.nats_of(example["image"][0], example["condition"].long()) for example in examples]
        assert np.allclose(nats_of(run, name=name), np.transpose(expected), rtol=1e-5)
    files = sorted((run / "samples" / "images").glob("*.png"))
    scores = auxar.score(run, files, heldout=0, condition=[0, 1, 2]).images
    drawn = torch.cat(levels_in(run / "samples" / "images"))
    expected = auxar.load(run).bits_per_dim(drawn, condition=[0, 1, 2]).tolist()
    assert [score.bits_per_dim for score in scores] == pytest.approx(expected)


def test_integers_of_a_run_have_the_ranges_of_its_training_images(run, tmp_path):
    """They are those that `auxar integers` makes."""
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    for file in (copy / "integer.json", *copy.glob("factors/*/integer.safetensors")):
        file.unlink()
    assert auxar.integers(copy, images=256).digests == auxar.load(run).chain.digests


def test_figures_compare_with_training_images(run):
    """The training image nearest to a held-out image is another image, since all images differ."""
    data = auxar.load_images(auxar.load(run))
    row = cells(Image.open(run / "figures" / "memorization.png"), 1, 6, 128, 128)[0]
    examples_of_training = data.train.every_example(1, 0, None)
    training = [enlarged(colors_of(example["image"][0]), 128, 128) for _, example in examples_of_training]
    for column in (1, 2, 4, 5):
        assert any(np.array_equal(row[column], image) for image in training)
    assert not any(np.array_equal(row[3], image) for image in training)


def colors_of(image: torch.Tensor) -> np.ndarray:
    """The colors of an image (c, h, w) on a sheet: uint8, (h, w, c)."""
    return np.asarray(np.ceil(image.long().permute(1, 2, 0).numpy() * 255 / (LEVELS - 1)).astype(np.uint8))
