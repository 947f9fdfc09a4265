"""Tests that `auxar views` writes the images of a data set so that a recipe reads the same values back."""

import tomllib

import numpy as np
import pyarrow.parquet
import pytest
import torch
from helpers.image_sets import training_batches
from helpers.tiny_runs import changed, tiny, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from auxar.cli import main
from auxar.commands.views import write_views
from auxar.data.batches import evaluation_examples
from auxar.data.conversion import Preparation
from auxar.data.loading import load_images
from auxar.data.pixels import pixels
from auxar.data.writing import check_pictures, encode, write_images
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.numerics.levels import VALUES
from auxar.recipe import Crop, load_recipe
from auxar.recipe.building import build_views

GRAY = {"view": {"name": "grayscale", "levels": 16}}
"""The view of a second stage of the tiny recipe: 4×4 pixels, gray, with 16 levels."""


def read_back(images: torch.Tensor, spec: ImageSpec, values: str = "scaled") -> torch.Tensor:
    """Encodes images as pictures, and reads them as a recipe with this [image] does."""
    read = Preparation(spec, Crop(), "none", values)
    return torch.stack([torch.tensor(read(encode(picture)[0], "")) for picture in pixels(images, spec, values)])


def two_views(pictures, **changes):
    """Returns the tiny recipe with a second stage, whose view is gray with 16 levels."""
    table = tiny(pictures, **changes)
    table["stage"].append({**table["stage"][0], **GRAY})
    return table


def coarse(table, path, depth, **changes):
    """Returns a recipe without the first `depth` stages, whose images are those that were written to `path`."""
    recipe = tomllib.loads(write(path.parent / "full.toml", table).read_text())
    views = build_views(load_recipe(path.parent / "full.toml"))
    spec = views[depth - 1].view
    for key in ("channels", "height", "width", "levels"):
        recipe["image"][key] = getattr(spec, key)
    recipe["stage"] = recipe["stage"][depth:]
    return changed(recipe, data__path=str(path), **changes)


def load(path, table):
    recipe = load_recipe(write(path, table))
    return load_images(recipe.data, recipe.image, recipe.registry), build_views(recipe)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([1, 3]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(2, 256),
    st.integers(0, 99),
    st.sampled_from(VALUES),
)
def test_pictures_are_lossless(channels, height, width, levels, seed, values):
    spec = ImageSpec(channels, height=height, width=width, levels=levels)
    images = torch.randint(levels, (2, *spec.shape), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(read_back(images, spec, values), images.to(torch.uint8))


def test_an_image_too_wide_for_webp_is_stored_as_png():
    spec = ImageSpec(1, height=1, width=16_384)
    images = torch.arange(16_384).view(1, *spec.shape) % 256
    assert encode(pixels(images, spec)[0])[1] == "png"
    assert torch.equal(read_back(images, spec), images.to(torch.uint8))


def test_row_groups_are_bounded_and_names_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("auxar.data.writing.GROUP_ROWS", 4)
    spec = ImageSpec(1, height=2, width=2)
    names = [f"a/{number}.jpeg" for number in range(10)]
    batches = [(names[:7], torch.zeros(7, *spec.shape).long()), (names[7:], torch.zeros(3, *spec.shape).long())]
    assert write_images(tmp_path / "x.parquet", batches, spec) == 10
    with pyarrow.parquet.ParquetFile(tmp_path / "x.parquet") as file:
        assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [4, 4, 2]
        assert [(row["name"], row["image"]["path"]) for row in file.read().to_pylist()] == [
            (name, name.replace("jpeg", "webp")) for name in names
        ]


def batches(sets):
    """Yields batches for the training of factors, and all validation and held-out images."""
    yield from training_batches(sets.train, batch_size=5, steps=7, seed=3)
    for images in (sets.validation, sets.heldout):
        yield from (batch["image"] for _, batch in evaluation_examples(images, batch_size=8))


@pytest.mark.parametrize(("streaming", "values"), [(False, "scaled"), (True, "levels")])
@pytest.mark.parametrize("out", ["coarse.parquet", "coarse"])
def test_a_recipe_of_the_coarse_images_gets_the_same_batches(pictures, tmp_path, out, streaming, values):
    fine = two_views(pictures, data__streaming=streaming, data__shuffle_buffer=4, data__split__validation=0.3)
    if values == "levels":
        fine = changed(fine, data__values=values, data__path=str(tmp_path / "levels"), image__levels=32)
        (tmp_path / "levels").mkdir()
        for file in pictures.iterdir():
            with Image.open(file) as picture:
                Image.fromarray(np.asarray(picture) // 8).save(tmp_path / "levels" / file.name)
    found = write_views(write(tmp_path / "fine.toml", fine), 2, tmp_path / out).path
    heldout = {"data__heldout": "test", "data__validation": "validation", "data__split": None}
    heldout = {} if found.suffix else heldout
    sets, views = load(tmp_path / "fine.toml", fine)
    coarse_sets, _ = load(tmp_path / "coarse.toml", coarse(fine, found, 2, **heldout))
    for images, expected in zip(batches(sets), batches(coarse_sets), strict=True):
        assert torch.equal(views[1](views[0](images)), expected)


def test_the_result_is_the_same_each_time_and_is_never_replaced(pictures, tmp_path, capsys):
    recipe = write(tmp_path / "tiny.toml", tiny(pictures))
    for name in ("first.parquet", "second.parquet"):
        assert main(["views", str(recipe), "--depth", "1", "-o", str(tmp_path / name)]) == 0
    first, second = ((tmp_path / name).read_bytes() for name in ("first.parquet", "second.parquet"))
    assert first == second
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "second.parquet")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    for name in ("first.parquet", "folder"):
        with pytest.raises(UserError, match=f"{name} exists and is not replaced; choose another name"):
            write_views(recipe, 0, tmp_path / name)
    assert (tmp_path / "first.parquet").read_bytes() == first
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("depth", "settings", "message"),
    [
        (3, [], "depth: expected the depth of the image or of a view of this recipe, 0 to 1, got 3"),
        (-1, [], "depth: expected the depth of the image or of a view of this recipe, 0 to 1, got -1"),
        (1, ["stage[0].view={name='bitplanes',drop=8}"], "drop must be at most 7 for an image of 8 bits"),
        (0, ["data.streaming=true", "data.broken=skip"], "data.split would divide this file differently"),
    ],
)
def test_mistakes_are_reported_before_images_are_read(pictures, tmp_path, monkeypatch, depth, settings, message):
    monkeypatch.setattr("auxar.data.loading.load_images", pytest.fail)
    with pytest.raises(UserError, match=message):
        write_views(write(tmp_path / "tiny.toml", tiny(pictures)), depth, tmp_path / "x.parquet", settings=settings)


@pytest.mark.parametrize(
    "kind", [{"channels": 2}, {"levels": 257}, {"height": 65_536, "width": 65_536}], ids=["channels", "levels", "size"]
)
def test_views_that_pictures_cannot_hold_are_refused(kind):
    with pytest.raises(UserError, match=r"^--depth 1 cannot be written as pictures: expected 1 or 3 channels, at "):
        check_pictures(ImageSpec(**{"height": 4, "width": 4, **kind}), "--depth 1")
