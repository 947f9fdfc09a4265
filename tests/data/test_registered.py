"""Tests of registered data sets: their options, when they are built, and the errors of their code."""

import os
from pathlib import Path

import attrs
import datasets
import pytest
from helpers.tiny_runs import said, tiny, write, write_pictures

from auxar.data.loading import load_images
from auxar.data.stored import StoredImages
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.recipe import load_recipe, recipe_text
from auxar.recipe.facts import recipe_facts
from auxar.recipe.loading import parse_recipe

PLUGIN = '''
"""The data set `dots` of random images."""

from pathlib import Path

import attrs
import numpy as np
from PIL import Image

from auxar import Component, UserError, cached_folder, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class Dots:
    """Random images."""

    count: int = attrs.field(default=24, validator=attrs.validators.ge(4))
    noise: float = 0.5
    log: Path | None = None
    seeds: Path = Path("seeds.txt")


def build(config):
    if config.log is not None:
        with config.log.open("a") as log:
            log.write("built\\n")
    if not config.seeds.is_file():
        raise UserError(f"seeds: {config.seeds} does not exist")
    return cached_folder("dots", config, lambda folder: draw(folder, config), sources=[config.seeds])


def draw(folder, config):
    random = np.random.default_rng(int(config.seeds.read_text()))
    for split in ("train", "test"):
        (folder / split).mkdir()
        for number in range(config.count):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{number}.png")


@hookimpl
def auxar_register_components():
    return [Component("dataset", "dots", Dots, build)]
'''
SPEC = ImageSpec(3, height=8, width=8)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with the plugin file, and an empty cache of `datasets`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "dots.py").write_text(PLUGIN)
    (tmp_path / "recipes" / "seeds.txt").write_text("1")
    return tmp_path / "recipes"


def recipe_of(folder: Path, path: str = "dots", *settings: str, **changes):
    table = tiny(Path(path), plugins=["dots.py"], data__split=None, data__heldout="test", **changes)
    return load_recipe(write(folder / "model.toml", table), settings, trust_plugins=True)


def refusal(folder: Path, path: str = "dots", **options) -> str:
    return said(recipe_of, folder, path, data__options=options).removeprefix(f"{folder / 'model.toml'}: ")


def test_options_have_types_bounds_and_defaults(folder):
    recipe = recipe_of(folder, data__options={"count": 5})
    expected = {"count": 5, "noise": 0.5, "seeds": str(folder / "seeds.txt")}
    assert recipe.data.options == expected
    assert parse_recipe(recipe_text(recipe), folder, trust_plugins=True) == recipe
    assert recipe_facts(recipe)["data.options.count"] == 5
    for options, message in (
        ({"counts": 5}, "data.options: unknown key 'counts'; did you mean 'count'? (known: count, log, noise, seeds)"),
        ({"count": "5"}, "data.options.count: expected an integer, got the string '5'"),
        ({"seeds": ""}, "data.options.seeds: expected the path of a file or folder, got ''"),
    ):
        assert refusal(folder, **options) == message


def test_only_registered_sets_have_options(folder):
    write_pictures(folder / "pictures")
    assert refusal(folder, "dot", count=5) == (
        "data.path: no dataset is named 'dot'; did you mean 'dots'? (known: dots, emoji, "
        "letters); data.options is only for registered data sets"
    )
    assert refusal(folder, "letters", count=5) == "data.options: unknown key 'count' (known: none)"
    table = tiny(folder / "pictures", data__options=[1])
    with pytest.raises(UserError, match=r"data\.options: expected a table"):
        load_recipe(write(folder / "model.toml", table))
    # The stored recipe of a set without options has no table for them.
    assert "options" not in recipe_text(load_recipe(write(folder / "model.toml", tiny(folder / "pictures"))))


def test_paths_are_relative_to_the_recipe_or_to_the_command(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    recipe = recipe_of(Path("recipes"), "dots", "data.options.log=log.txt")
    assert recipe.data.options["seeds"] == str(folder / "seeds.txt")
    assert recipe.data.options["log"] == str(folder.parent / "log.txt")
    recipe = recipe_of(folder, data__options={"log": "../a/../log.txt", "seeds": "~/seeds.txt"})
    assert recipe.data.options["log"] == str(folder.parent / "log.txt")
    assert recipe.data.options["seeds"] == os.path.expanduser("~/seeds.txt")


# Building


def test_only_the_chosen_set_is_built_and_only_once(folder):
    log = folder / "log.txt"
    recipe = recipe_of(folder, data__options={"log": str(log)}, data__workers=1)
    assert not log.exists()
    images = load_images(recipe.data, recipe.image, recipe.registry).train
    assert isinstance(images, StoredImages)
    assert (len(images), log.read_text()) == (24, "built\n")
    for path in (str(write_pictures(folder / "pictures")), "emoji"):
        data = attrs.evolve(recipe.data, path=path, options={}, heldout=None, resize="cover")
        load_images(data, SPEC, recipe.registry)
    assert log.read_text() == "built\n"


def test_errors_of_build_name_the_set(folder):
    recipe = recipe_of(folder, data__options={"seeds": "other.txt"})
    expected = rf"^data\.path \('dots'\): seeds: {folder / 'other.txt'} does not exist$"
    with pytest.raises(UserError, match=expected):
        load_images(recipe.data, recipe.image, recipe.registry)


def test_files_are_generated_again_if_their_code_changes(folder):
    for code in (PLUGIN, PLUGIN + "\n\n# Another version.\n"):
        (folder / "dots.py").write_text(code)
        recipe = recipe_of(folder)
        load_images(recipe.data, recipe.image, recipe.registry)
    assert len(list((folder.parent / "cache" / "auxar" / "sets").glob("dots-*[0-9a-f]"))) == 2
