"""Tests that `auxar new-recipe` writes recipes that fit pictures, and that train."""

import shutil

import datasets
import numpy as np
import pytest
from helpers.tiny_runs import NAMES, said
from PIL import Image

import auxar


@pytest.mark.parametrize(
    ("sizes", "top", "expected"),
    [
        ([(28, 28)], 255, ("none", False, (28, 28), 256, "scaled", ["28×28", "14×14", "7×7"])),
        ([(20, 30), (40, 33)], 255, ("none", True, (16, 16), 256, "scaled", ["16×16", "8×8"])),
        ([(300, 200)], 16, ("cover", False, (64, 40), 17, "levels", ["64×40", "32×20", "16×10"])),
        ([(9, 9), (8, 30)], 1, ("cover", False, (64, 64), 2, "levels", ["64×64", "32×32", "16×16", "8×8"])),
    ],
)
def test_sizes_levels_and_views_fit_the_pictures(tmp_path, sizes, top, expected):
    values = np.random.default_rng(0)
    for number in range(20):
        pixels = values.integers(0, top, sizes[number % len(sizes)], endpoint=True, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    recipe = auxar.load_recipe(auxar.new_recipe(tmp_path, out=tmp_path / "own.toml"))
    image, data = recipe.image, recipe.data
    views = [str(cost.image).partition("×1 ")[0] for cost in auxar.factor_costs(recipe)]
    assert (data.resize, data.crop.random, (image.height, image.width), image.levels, data.values, views) == expected
    assert ("`auxar compress`" in (tmp_path / "own.toml").read_text()) == (image.levels == 256)
    auxar.load_images(recipe)


def test_pictures_of_16_bits_are_named_and_can_be_used(tmp_path, caplog):
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 4096, (9, 9), dtype=np.uint16)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    recipe = auxar.load_recipe(auxar.new_recipe(tmp_path, out=tmp_path / "own.toml"))
    assert (recipe.image.levels, recipe.data.values) == (256, "scaled")
    assert auxar.load_images(recipe).train[0].max() == 15
    assert sum("16 bits per channel" in text for text in caplog.messages) == 1


def test_odd_names_are_written_as_toml(pictures, tmp_path):
    odd = shutil.copytree(pictures, tmp_path / "del\x7fete")
    assert auxar.load_recipe(auxar.new_recipe(odd, out=tmp_path / "a\nb.toml")).data.path == str(odd)
    assert "training.minutes: " in said(auxar.new_recipe, odd, out=tmp_path / "own.toml", minutes=True)
    assert "minutes: expected a number" in said(auxar.new_recipe, odd, out=tmp_path / "own.toml", minutes=None)


@pytest.mark.parametrize(("areas", "view"), [(4, "subsample"), (1, "pyramid")], ids=["drawings", "photographs"])
def test_views_of_drawings_keep_areas_of_one_color(tmp_path, areas, view):
    values = np.random.default_rng(0)
    for number in range(3):
        pixels = values.integers(0, 255, (32 // areas, 32 // areas, 3), dtype=np.uint8)
        Image.fromarray(np.kron(pixels, np.ones((areas, areas, 1), np.uint8))).save(tmp_path / f"{number}.png")
    recipe = auxar.load_recipe(auxar.new_recipe(tmp_path, out=tmp_path / "own.toml"))
    assert [stage.view.name for stage in recipe.stage] == [view, view]


def test_labels_and_masks_become_conditions_and_the_model_trains(pictures, tmp_path):
    for name in ("masks", *(f"folders/{label}" for label in NAMES)):
        shutil.copytree(pictures, tmp_path / name)
    for file in (tmp_path / "masks").glob("*.png"):
        Image.new("L", (8, 8), 3).save(file.with_name(f"{file.stem}.mask.png"))
    files = [file.read_bytes() for file in pictures.glob("*.png")]
    types = datasets.Features({"image": datasets.Image(), "word": datasets.Value("string")})
    columns = {"image": files, "word": [NAMES[number % 3] for number in range(len(files))]}
    datasets.Dataset.from_dict(columns, types).to_parquet(tmp_path / "column.parquet")
    found = {}
    for name in ("masks", "folders", "column.parquet"):
        recipe = auxar.new_recipe(tmp_path / name, out=tmp_path / f"{name}.toml")
        settings = ["training.steps=1", "sampling.images=0", "evaluation.train_images=0"]
        auxar.run(recipe, settings=settings, out=tmp_path / "runs" / name, only=["prior"])
        found[name] = auxar.load_recipe(recipe).condition
    assert (found["masks"].kind, found["masks"].suffix, found["masks"].classes) == ("mask", ".mask.png", 4)
    assert auxar.load_recipe(tmp_path / "folders.toml").sampling.images == 18, "a multiple of three classes"
    assert (found["folders"].folders, found["folders"].names) == (True, tuple(NAMES))
    assert (found["column.parquet"].column, found["column.parquet"].names) == ("word", tuple(NAMES))
    assert "is not replaced" in said(auxar.new_recipe, pictures, out=tmp_path / "masks.toml")
