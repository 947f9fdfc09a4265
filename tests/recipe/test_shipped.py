"""Tests that recipes that come with auxar are found by name, listed from their headers, and printed."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from helpers.tiny_runs import PROJECT, TINY, said

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.recipe import load_recipe
from auxar.recipe import shipped as module
from auxar.recipe.shipped import default_folder, find_recipe, first_sentence, list_recipes, text_of_shipped

RECIPES = PROJECT / "recipes"


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    """The working directory, an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_recipe_is_listed_and_its_header_says_what_it_takes():
    recipes = list_recipes()
    assert recipes[0].name == "quickstart"
    # An installed auxar has its own copies.
    assert {recipe.name: recipe.path.read_bytes() for recipe in recipes} == {
        path.relative_to(RECIPES).with_suffix("").as_posix(): path.read_bytes() for path in RECIPES.rglob("*.toml")
    }
    for recipe in recipes:
        assert f"\n#     auxar run {recipe.name}\n" in recipe.path.read_text("utf-8")
        texts = (recipe.purpose, recipe.time, recipe.memory, recipe.result)
        assert all(len(text) > 5 and text.endswith((".", ")")) for text in texts), recipe
        # A paragraph that was not split would contain the next label or the remarks.
        assert not any(word in text for text in texts for word in ("Time:", "Memory:", "Result:", "hosen here")), recipe


def test_a_header_is_read_by_paragraphs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "auxar")
    (tmp_path / "recipes").mkdir()
    header = (
        "# A model of X et al. (2017), for a test. More about\n# it.\n#\n#     auxar run own\n#\n"
        "# Time: 4 minutes. On\n# one core.\n# Result: good.\n#\n# Chosen here: all.\n\n# Memory: no\n"
    )
    (tmp_path / "recipes" / "own.toml").write_text(f"#:schema auxar.schema.json\n{header}")
    (own,) = list_recipes()
    assert own == auxar.ShippedRecipe(
        "own",
        purpose="A model of X et al. (2017), for a test.",
        time="4 minutes. On one core.",
        memory="",
        result="good.",
        path=tmp_path / "recipes" / "own.toml",
    )
    assert first_sentence(own.time) == "4 minutes."
    # The schema is named by its full path, because the text may be written to another folder.
    assert text_of_shipped("own") == f"#:schema {(tmp_path / 'recipes/auxar.schema.json').as_uri()}\n{header}"
    # In an installed package, the recipes are inside of it.
    (tmp_path / "auxar" / "recipes").mkdir(parents=True)
    assert list_recipes() == []


def test_names_are_found_anywhere_and_files_win(empty):
    assert load_recipe("small/celeba32") == load_recipe(RECIPES / "small" / "celeba32.toml")
    found, name = find_recipe("quickstart")
    assert (found.read_bytes(), name) == ((RECIPES / "quickstart.toml").read_bytes(), "quickstart")
    named = ("tight/small/table2_coarse", "x/photos.toml")
    assert [default_folder(path) for path in named] == [Path("runs/tight/small/table2_coarse"), Path("runs/photos")]
    (empty / "quickstart").mkdir()
    assert find_recipe("quickstart") == (found, name)
    (empty / "pyramid_celeba").write_text(TINY)
    assert find_recipe("pyramid_celeba") == (Path("pyramid_celeba"), None)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("quickstrat", "it is neither a file nor a recipe that comes with auxar; did you mean 'quickstart'? (`auxar "),
        (
            "celeba32",
            "it is neither a file nor a recipe that comes with auxar; did you mean 'small/celeba32'? (`auxar ",
        ),
        ("scans", "it is neither a file nor a recipe that comes with auxar; did you mean 'scans.toml'? (`auxar "),
        ("zzzzzz", "it is neither a file nor a recipe that comes with auxar (`auxar recipes` lists them)"),
        ("recipes/quickstart.toml", "a recipe of this name comes with auxar: give its name alone, 'quickstart'"),
        ("a/tight/small/table2_coarse", "with auxar: give its name alone, 'tight/small/table2_coarse'"),
        ("zzz/y.toml", "recipe zzz/y.toml does not exist"),
        ("scan.toml", "did you mean 'scans.toml'? (known: scans.toml)"),
    ],
)
def test_a_name_that_is_not_found(empty, path, words):
    (empty / "scans.toml").write_text(TINY)
    message = said(load_recipe, path)
    assert message.startswith(f"recipe {path} does not exist")
    assert words in message
    assert "none" not in message


def test_a_folder_is_no_recipe(empty):
    (empty / "run").mkdir()
    with pytest.raises(UserError, match=r"^recipe run is a folder; expected a TOML file or the name of a recipe"):
        load_recipe("run")
    (empty / "run" / "recipe.toml").write_text(TINY)
    with pytest.raises(UserError, match=r"^recipe run is a folder; did you mean 'run/recipe\.toml'"):
        load_recipe("run")


def test_the_list_and_a_printed_recipe(empty, capsys, refused):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    names = [recipe.name for recipe in auxar.list_recipes()]
    assert [line.split("  ")[0] for line in lines[1 : lines.index("")]] == [
        name for name in names if "tight" not in name
    ]
    assert {len(re.split(" {2,}", line)) for line in lines[: lines.index("")]} == {4}
    assert re.findall(r"tight/[^\s,]+", " ".join(lines)) == [name for name in names if "tight" in name]
    assert lines[1] == "quickstart                emoji            116 seconds       2.47 ± 0.07"

    assert main(["recipes", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["name"] for record in records] == names
    assert set(records[0]) == {"name", "purpose", "time", "memory", "result", "path"}

    assert main(["recipes", "small/emoji/plain"]) == 0
    (empty / "mine.toml").write_text(text := capsys.readouterr().out, encoding="utf-8")
    assert tomllib.loads(text) == tomllib.loads((RECIPES / "small" / "emoji" / "plain.toml").read_text("utf-8"))
    assert load_recipe("mine.toml") == load_recipe("small/emoji/plain")

    assert "no recipe that comes with auxar is named 'quik'; did you mean 'quickstart'?" in refused("recipes", "quik")
