"""Tests that paths in a recipe are relative to its folder, and paths in settings to the working directory."""

import os
from pathlib import Path

import pytest
from helpers.tiny_runs import said, tiny, write

from auxar.recipe import load_recipe
from auxar.recipe.shipped import text_of_shipped


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    """The path of a recipe in the folder `recipes` of the working directory."""
    monkeypatch.chdir(tmp_path)
    return write(Path("recipes", "own.toml"), tiny(Path("photos"), training__init="../runs/first"))


def path_of(recipe: str | Path, *settings: str) -> str:
    return load_recipe(recipe, settings).data.path


def test_images_are_looked_for_beside_the_recipe(recipe, tmp_path, monkeypatch):
    assert path_of(recipe) == "photos", "it may be the name of a data set on the hub"
    (tmp_path / "recipes" / "photos").mkdir()
    assert path_of(recipe) == str(tmp_path / "recipes" / "photos")
    (tmp_path / "photos").mkdir()
    assert path_of(recipe) == str(tmp_path / "recipes" / "photos")
    assert path_of(recipe, "data.path=photos") == str(tmp_path / "photos")
    assert path_of(recipe, 'data={ path = "photos", split = { train = 0.5 } }') == str(tmp_path / "photos")
    assert path_of(recipe, "data.path=./fotos") == str(tmp_path / "fotos"), "a path with ./ is local"
    assert path_of(recipe, "data.path=~/photos") == "~/photos"
    # A recipe by name has no folder of the user.
    assert path_of("quickstart", "data.path=photos") == str(tmp_path / "photos")
    # Names of registered data sets win over folders.
    (tmp_path / "emoji").mkdir()
    assert path_of(recipe, "data.path=emoji") == path_of("quickstart") == "emoji"


def test_images_in_the_other_folder_are_named(recipe, tmp_path):
    (tmp_path / "photos").mkdir()
    message = said(load_recipe, recipe)
    assert message.startswith(f"{recipe}: data.path: photos is not in {tmp_path}/recipes, but in {tmp_path}; ")
    assert message.endswith('write path = "../photos" in the recipe, or add --set data.path=photos')
    (tmp_path / "recipes" / "others").mkdir()
    message = said(load_recipe, recipe, ["data.path=others"])
    assert message.startswith(f"{recipe}: data.path: others is not in {tmp_path}, but in {tmp_path}/recipes; ")
    assert message.endswith("write --set data.path=recipes/others")


def test_other_runs_are_looked_for_beside_the_recipe(recipe, tmp_path):
    table = tiny(Path("photos"), training__init="~/x", training__factor__prior__init="first")
    write(Path("recipes", "two.toml"), table)
    assert load_recipe(recipe).training.init == str(tmp_path / "runs" / "first")
    assert load_recipe(recipe, ["training.init=runs/second"]).training.init == str(tmp_path / "runs" / "second")
    both = load_recipe(Path("recipes", "two.toml"))
    assert both.training.init == os.path.expanduser("~/x")
    assert both.factor_training["prior"].init == str(tmp_path / "recipes" / "first")
    both = load_recipe(Path("recipes", "two.toml"), ["training.factor.prior.init=second"])
    assert both.factor_training["prior"].init == str(tmp_path / "second")


def test_other_images_do_not_have_the_splits_and_options_of_a_registered_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()

    def data(*settings):
        return load_recipe("quickstart", settings).data

    assert (data().heldout, data().options["groups"]) == ("test", ["smileys"])
    assert (data("data.path=photos").heldout, data("data.path=photos").options) == (None, {})
    assert data("data.path=photos", "data.heldout=test").heldout == "test"
    assert data("data.path=emoji", "training.steps=1") == data()
    # Without options in the recipe, the set is recognized by its name.
    lines = text_of_shipped("quickstart").splitlines()
    (tmp_path / "all.toml").write_text("\n".join(line for line in lines if not line.startswith("options")))
    assert load_recipe("all.toml").data.heldout == "test"
    assert load_recipe("all.toml", ["data.path=photos"]).data.heldout is None
    # The last one of several paths counts, in any spelling.
    assert data("data.path=photos", 'data.path="emoji" # all of them') == data()
    assert data("data.path=emoji", "data[path]=photos").options == {}
    # A folder's splits are those of any other copy of the images.
    assert load_recipe("small/table2_coarse", ["data.path=photos"]).data.heldout == "test"
