"""Tests of models that come trained: they are found by name wherever a run is read, and nothing is written to them."""

import json
import logging
import os
import shutil
import sys
from pathlib import Path

import attrs
import pytest
from helpers.evaluations import figures_of
from helpers.installed import Needy, install_components
from helpers.tiny_runs import said, same, snapshot, tiny, weights, write

import auxar
from auxar.cli import main
from auxar.evaluation.stored import read_evaluation
from auxar.files import read_checksum
from auxar.recipe import read_recipe
from auxar.runs.history import Origin

HEADER = "# Slopes at 8×8, for a test. More about them.\n#\n# Time: none.\n# License: free, to\n# all.\n\n"


@attrs.frozen
class Dots:
    """Slopes, as the plugin says."""


@pytest.fixture
def package(finished, tmp_path, monkeypatch) -> Path:
    """The folder of the model `dots`, of which a part is a link, as some installers make. The working directory is
    another, empty folder."""
    folder = auxar.export(finished, tmp_path / "package" / "dots").path
    recipe = folder / "recipe.toml"
    recipe.write_text(HEADER + recipe.read_text(encoding="utf-8"), encoding="utf-8")
    own = folder / "factors" / "prior" / "weights.safetensors"
    own.rename(tmp_path / "cached.safetensors")
    own.symlink_to(tmp_path / "cached.safetensors")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    install_components(monkeypatch, auxar.Component("model", "dots", Dots, lambda config: folder))
    return folder


def test_a_name_is_accepted_wherever_a_run_is_read_and_results_are_in_a_folder_of_this_name(
    package, finished, pictures, capsys, caplog
):
    before = snapshot(package)
    model = auxar.load("dots")
    assert same(model.chain.state_dict(), auxar.load(finished).chain.state_dict())
    sampled = auxar.sample("dots", images=2, rule="map", seed=3)
    assert sampled == Path("dots/samples/map-seed3")
    assert auxar.figures("dots", rows=1, settings=["sampling.seed=1", f"data.path={pictures}"]) == Path("dots/figures")

    # Before the model is evaluated again, its own evaluation counts.
    (stored,) = auxar.compare(["dots"]).runs
    assert (stored.run, stored.images, stored.notes) == ("dots", 6, [])
    few = ["evaluation.heldout_images=2", f"data.path={pictures}"]
    assert auxar.evaluate("dots", settings=few).path == Path("dots")
    assert main(["evaluate", "dots", "--json", "-q", "--set", *few]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "dots"
    (again,) = auxar.compare(["dots"]).runs
    assert (again.run, again.images, again.notes) == ("dots", 2, ["evaluated in dots/evaluation.safetensors"])

    # The files of a package have any order in time.
    os.utime(package / "evaluation.safetensors", (0, 0))
    before["evaluation.safetensors"] = (0, before["evaluation.safetensors"][1])
    copy = auxar.export("dots", "copy").path
    assert figures_of(copy) == figures_of(package)
    assert snapshot(package) == before
    assert not (package / ".lock").exists()
    assert not Path("dots/report.html").exists()
    # The folder of results is no run, so the name still means the model. A run's folder means the run.
    assert same(auxar.load("dots").chain.state_dict(), model.chain.state_dict())
    shutil.copytree(finished, "runs/dots")
    with caplog.at_level(logging.INFO, "auxar"):
        auxar.load("dots")
    assert "dots is the model that comes trained; your run is runs/dots" in caplog.messages
    Path("runs/dots").rename("other")
    shutil.rmtree("dots")
    Path("other").rename("dots")
    assert auxar.sample("dots", images=1).parent.resolve() == Path("dots/samples").resolve()
    assert auxar.evaluate("dots").report.is_file()


@pytest.mark.parametrize(
    ("place", "call", "words"),
    [
        ("dots", auxar.figures, "dots is a regular file, but results are written into a folder of this name"),
        ("dots/evaluation.safetensors", auxar.evaluate, "dots/evaluation.safetensors is not a file of auxar"),
        ("dots/mine.png", auxar.sample, "dots has pictures (mine.png), and results are not written beside them"),
        ("dots/figures/views.png", auxar.figures, "dots/figures has no figures.json of auxar"),
    ],
)
def test_results_of_a_model_replace_no_file_of_the_user(package, place, call, words):
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    Path(place).write_text("mine")
    assert words in said(call, "dots")
    assert Path(place).read_text() == "mine"


def test_a_mistyped_name_is_answered_with_the_nearest_run_or_model(package, finished):
    hint = "is not a run's folder: it does not exist; did you mean 'dots'? (`auxar models` lists the models that "
    assert said(auxar.load, "dot").startswith(f"dot {hint}")
    shutil.copytree(finished, "doting")
    expected = "dotin is not a run's folder: it does not exist; did you mean 'doting'? (known: "
    assert said(auxar.load, "dotin").startswith(expected)
    # A model is no recipe.
    assert "dots does not exist: it is neither a file nor a recipe" in said(auxar.run, "dots")


def test_training_starts_with_the_weights_of_a_model(package, finished, pictures, monkeypatch):
    recipe = write(Path("mine.toml"), tiny(pictures, training__init="dots", training__steps=0, sampling__images=0))
    Path("dots").mkdir()  # Results of the model may be here.
    mine = auxar.run("mine.toml").path
    assert same(weights(mine), weights(finished))
    assert read_recipe(mine / "recipe.toml").training.init == "dots"
    history = read_evaluation(mine / "evaluation.safetensors").factors[1].history
    assert history is not None
    assert history.init == Origin("dots", read_checksum(finished / "factors" / "prior" / "weights.safetensors"))
    # The run continues from any working directory, and --set accepts the name, too.
    Path("elsewhere").mkdir()
    recipe, mine = recipe.resolve(), mine.resolve()
    monkeypatch.chdir("elsewhere")
    settings = ["training.steps=1"]
    assert auxar.run(recipe, out=mine, settings=[*settings, "training.init=dots"]).path == mine
    expected = "elsewhere/dost is not a run's folder: it does not exist; did you mean 'dots'?"
    assert expected in said(auxar.run, recipe, out="new", settings=["training.init=dost"])
    # A run's folder of this name wins, and a path is never a name.
    shutil.copytree(mine, "dots")
    loaded = auxar.load_recipe(recipe, ["training.init=dots"])
    assert loaded.training.init == str(Path("dots").resolve())


def test_the_list_shows_what_the_folders_say(package, capsys, caplog, monkeypatch):
    (model,) = [model for model in auxar.list_models() if model.name == "dots"]
    evaluation = figures_of(package)
    assert model == auxar.ShippedModel(
        "dots",
        purpose="Slopes at 8×8, for a test.",
        image=auxar.ImageSpec(3, height=8, width=8),
        data="./pictures",
        bits_per_dim=evaluation["bits_per_dim"]["heldout"],
        standard_error=evaluation["standard_error"]["heldout"],
        kind="bound",
        condition=None,
        heldout_images=6,
        bytes=sum(path.stat().st_size for path in package.rglob("*") if path.is_file()),
        license="free, to all.",
        provider="toys (toys_package)",
        path=package,
    )
    assert main(["models"]) == 0
    bits = f"{model.bits_per_dim:.4f} ± {model.standard_error:.4f}"
    assert f"    Result:  {bits} bits/dim (an upper bound, log p(X, X̂) ≤ log p(X)) on 6" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    (record,) = [each for each in json.loads(capsys.readouterr().out) if each["name"] == "dots"]
    assert record == {**attrs.asdict(model), "path": str(package)}

    # Without a header and an evaluation, the plugin's summary is left.
    text = (package / "recipe.toml").read_text("utf-8")
    (package / "recipe.toml").write_text(text.removeprefix(HEADER), "utf-8")
    (package / "evaluation.safetensors").unlink()
    (model,) = [model for model in auxar.list_models() if model.name == "dots"]
    assert (model.purpose, model.license, model.bits_per_dim) == ("Slopes, as the plugin says.", "", None)
    shutil.rmtree(package)
    assert "dots" not in [model.name for model in auxar.list_models()]
    assert f"the model 'dots': {package} is not a run's folder: it does not exist" in caplog.text


@pytest.mark.parametrize(
    ("config", "build", "words"),
    [
        (Dots, lambda config: 1 / 0, "the model of plugin toys (toys_package) cannot be built: ZeroDivisionError"),
        (Dots, lambda config: sys.exit(3), "the model of plugin toys (toys_package) cannot be built: SystemExit: 3"),
        (Dots, lambda config: None, "expected a path from plugin toys (toys_package), got None"),
        (Needy, lambda config: Path(), "the model of plugin toys (toys_package) cannot be built: TypeError: "),
        (Dots, lambda config: Path(os.devnull), "/dev/null is not a run's folder"),
    ],
)
def test_a_mistake_of_the_plugin_names_the_model(monkeypatch, config, build, words):
    install_components(monkeypatch, auxar.Component("model", "broken", config, build))
    message = said(auxar.load, "broken")
    assert message.startswith("the model 'broken'")
    assert words in message


@pytest.mark.parametrize("name", auxar.load_plugins().names("model"))
def test_a_model_that_comes_with_auxar_says_what_it_is(name):
    (model,) = [model for model in auxar.list_models() if model.name == name]
    assert model.license
    assert model.bits_per_dim is not None
