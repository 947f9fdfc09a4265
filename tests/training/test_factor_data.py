"""Tests of factors that are trained on data sets of their own."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_runs
from helpers.tiny_runs import assert_same_training, metrics, run, said, tiny, weights, write, write_pictures
from PIL import Image

import auxar
from auxar.data.loading import images_of, with_own_data
from auxar.data.sets import DataSets
from auxar.recipe.facts import recipe_facts
from auxar.recipe.loading import parse_recipe, recipe_text

SPLIT = {"train": 0.75}
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "stored": ({"resize": "stretch"}, 8),
    "streamed": ({"resize": "stretch", "streaming": True, "shuffle_buffer": 5}, 8),
    "random crops": ({"crop": "random"}, 8),
    "smaller crops": ({"crop": "random"}, 4),
    "smaller crops, streamed": ({"crop": "random", "streaming": True}, 4),
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")


@pytest.fixture
def table(pictures: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe whose prior is trained for 2 epochs on 20 of the pictures in `own`, of the size of views, with masks."""
    own = {"path": str(write_pictures(tmp_path / "own", 26, 4)), "split": SPLIT, "depth": 1, "resize": "stretch"}
    for file in [*pictures.iterdir(), *(tmp_path / "own").iterdir()]:
        Image.open(file).convert("1").save(file.with_suffix(".mask.png"))
    options = {"condition": {"kind": "mask", "suffix": ".mask.png", "classes": 2}, "training__checkpoint_every": 4}
    return tiny(pictures, training__factor__prior={"data": own, "epochs": 2}, **options)


@pytest.mark.parametrize(("options", "side"), KINDS.values(), ids=KINDS)
def test_a_factor_is_trained_as_in_a_run_on_its_data_set(pictures, tmp_path, options, side):
    fine, coarse = ({"path": str(write_pictures(tmp_path / f"{n}", 26, n)), **options} for n in (12, 6))
    crop = {} if side == 8 else {"crop": [side, side]}
    factors = {"stage0": {"data": fine, **crop}, "prior": {"data": {**coarse, "depth": 1}, **crop}}
    tables = {
        "both": tiny(pictures, training__factor=factors),
        "stage0": tiny(pictures, data=fine, image={"height": side, "width": side}),
        "prior": tiny(pictures, data=coarse, image={"height": side // 2, "width": side // 2}, stage=None),
    }
    found = {name: weights(run(tmp_path / name, recipe, train_only=True)) for name, recipe in tables.items()}
    for key, tensor in found["both"].items():
        assert torch.equal(tensor, found[key.partition("/")[0]][key])


def test_epochs_count_its_images_and_training_resumes_without_effect(table, tmp_path):
    whole = run(tmp_path / "whole", table, train_only=True)
    assert [line["step"] for line in metrics(whole) if line["factor"] == "prior"] == list(range(1, 11))
    with tiny_runs.stopping_after(6):
        run(tmp_path / "stopped", table, train_only=True)
    table["training"]["factor"]["prior"]["data"]["workers"] = 1
    assert_same_training(run(tmp_path / "stopped", table, train_only=True), whole)
    table["training"]["factor"]["prior"]["data"]["streaming"] = True
    assert said(run, tmp_path / "streamed", table).startswith("training.factor.prior.epochs: the length of a stream")


def test_evaluation_uses_the_images_of_the_run_and_names_the_others(table, pictures, tmp_path):
    done = run(tmp_path / "done", table, train_only=True)
    shutil.rmtree(tmp_path / "own")
    run(done, table)
    found = auxar.compare([done]).runs[0]
    assert (found.evaluation.data.path, found.evaluation.images) == (str(pictures), {"heldout": 6, "training": 18})
    clause = f"trained on 20 images of {tmp_path / 'own'}"
    assert found.notes == [f"prior was {clause}"]
    assert clause in auxar.RunFolder(done).report.read_text("utf-8")
    exported = auxar.export(done, tmp_path / "exported")
    assert auxar.compare([exported.path]).runs[0].notes == ["prior was trained on 20 images of ./own"]
    assert str(tmp_path) not in exported.recipe.read_text("utf-8")


def test_heldout_images_are_not_trained_on(pictures, tmp_path):
    def loaded(seed: int, factor: str = "stage0", **options: Any) -> DataSets:
        own = {"path": str(pictures), "split": {**SPLIT, "seed": seed}, **options}
        file = write(tmp_path / "recipe.toml", tiny(pictures, training__factor={factor: {"data": own}}))
        recipe = auxar.load_recipe(file)
        return with_own_data(images_of(recipe), recipe, [factor])

    same, views = loaded(0), loaded(1, "prior", depth=1, resize="stretch")
    assert same.facts["the stage0 factor's images"] == same.facts["the training images"]
    leaked = {name for name, _ in same.heldout.named()} & {name for name, _ in views.of("prior").train.named()}
    start, end = said(loaded, 1).split(" images of [data], such as ")
    assert start == f"training.factor.stage0.data: {len(leaked)} of its training images are held-out"
    assert end.partition(";")[0] in leaked


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"depth": 2}, r"\.data\.depth: expected at most 1, the depth of the images of factor prior, got 2"),
        ({"depth": -1}, r"\.data: .*depth.* must be >= 0"),
        ({"crop": "left"}, r'\.data\.crop: expected a table or "random", got'),
        ({"crop": "random", "resize": "cover"}, r": data\.crop: random crops are of images of their own"),
        ({"options": {"x": 1}}, r"\.data\.path: .*prior\.data\.options is only for registered data sets"),
        ({"path": "../none/x.png"}, r"\.data\.path: .* does not exist"),
    ],
)
def test_what_does_not_fit_is_refused(table, tmp_path, data, message):
    table["training"]["factor"]["prior"]["data"] |= data
    recipe = write(tmp_path / "recipe.toml", table)
    found = said(lambda: auxar.check(recipe)) or str(auxar.check(recipe).mistake)
    assert re.search(rf"training\.factor\.prior{message}", found), found


def test_paths_are_relative_to_the_recipe_or_of_settings_to_the_working_directory(pictures, tmp_path, monkeypatch):
    here, there = (write_pictures(tmp_path / name / "own") for name in ("here", "there"))
    monkeypatch.chdir(here.parent)
    file = write(there.parent / "recipe.toml", tiny(pictures, training={"steps": 1, "data": {"path": "own"}}))
    for settings, path in ([], there), (["training.data.path=own", "training.factor.prior.steps=2"], here):
        recipe = auxar.load_recipe(file, settings)
        assert {recipe.data_of(name).path for name in recipe.factor_names} == {str(path)}
        assert parse_recipe(recipe_text(recipe), None) == recipe
        assert recipe_facts(recipe)["training.data.path"] == "own"
    recipe = auxar.load_recipe(file, ["training.factor.prior.data={ path = 'own', depth = 1 }"])
    assert recipe.data_of("prior").path == str(here)
