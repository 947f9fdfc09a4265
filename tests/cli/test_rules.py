"""Tests that commands refuse options of drawing that change nothing, and that a new rule has its own reduction."""

import shutil
import tomllib

import pytest
from helpers.tiny_runs import changed, run, tiny, write

from auxar.cli import main
from auxar.errors import UserError
from auxar.files import read_json
from auxar.recipe import load_recipe, load_recipe_of_run

MIXTURES = "changes nothing: the heads of this model are logistic mixture heads, which have no temperature; use "
SOFTMAX = {"prior__head": "softmax"}


@pytest.fixture(scope="module")
def softmax(pictures, tmp_path_factory):
    """A finished run of one softmax prior, with figures."""
    table = tiny(pictures, stage=None, **SOFTMAX, sampling__figure_rows=1, sampling__images=1)
    return run(tmp_path_factory.mktemp("softmax") / "run", table)


def refusal(capsys, *arguments):
    """Runs a command that must fail, and returns its error message."""
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err.rpartition("auxar: ")[2].strip()


def test_sampling_with_an_option_that_does_nothing_is_refused(finished, softmax, capsys):
    flags = "--temperature 1, for example with --rule reduced or --rule map"
    assert refusal(capsys, "sample", finished, "--temperature", 0.5) == f"--temperature 0.5 {MIXTURES}{flags}"
    setting = ["--set", "sampling.temperature=0.5"]
    assert refusal(capsys, "sample", finished, *setting) == f"sampling.temperature = 0.5 {MIXTURES}{flags}"
    settings = "--set sampling.temperature=1, for example with --set sampling.rule=reduced or --set sampling.rule=map"
    assert refusal(capsys, "figures", finished, *setting) == f"sampling.temperature = 0.5 {MIXTURES}{settings}"
    found = refusal(capsys, "sample", softmax, "--rule", "reduced")
    assert found.endswith("which have no scales to reduce; use --rule ancestral, for example with --temperature 0.8")


def test_a_recipe_with_an_option_that_does_nothing_is_refused_before_training(pictures, tmp_path, capsys):
    recipe = write(tmp_path / "recipe.toml", tiny(pictures, sampling__temperature=0.5))
    advice = "sampling.temperature = 1, for example with sampling.rule = 'reduced' or sampling.rule = 'map'"
    for command in (["check", recipe], ["run", recipe, "--out", tmp_path / "run"]):
        assert refusal(capsys, *command) == f"sampling.temperature = 0.5 {MIXTURES}{advice}"
    assert not (tmp_path / "run").exists()


def test_the_advice_for_a_run_whose_recipe_was_edited_works(pictures, finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    stored = changed(tomllib.loads((folder / "recipe.toml").read_text("utf-8")), sampling__temperature=0.5)
    write(folder / "recipe.toml", stored)
    assert "use --temperature 1, " in refusal(capsys, "sample", folder)
    assert main(["sample", str(folder), "-n", "1", "--temperature", "1", "--out", str(tmp_path / "drawn")]) == 0
    table = tiny(pictures, sampling__temperature=0.5)
    with pytest.raises(UserError, match=r"use sampling\.temperature = 1, "):
        run(folder, table)
    run(folder, changed(table, sampling__temperature=1.0))
    assert load_recipe(folder / "recipe.toml")[0].sampling.temperature == 1.0


def test_only_heads_of_factors_that_draw_from_a_given_image_count(pictures, finished, tmp_path, monkeypatch):
    depths = []
    monkeypatch.setattr(
        "auxar.commands.sample.check_rule", lambda model, rule, *, from_depth, spelling: depths.append(from_depth)
    )
    given = ["sample", str(finished), "-n", "1", "--out", str(tmp_path / "out"), "--given", str(pictures / "000.png")]
    assert main(given) == main([*given, "--keep", "4"]) == main(given[:6]) == 0
    assert depths == [1, None, None]


def test_a_least_weight_that_does_nothing_is_refused(softmax, tmp_path, capsys):
    arguments = ["sample", softmax, "-n", 1, "--rule", "reduced", "--reduction", 0, "--out", tmp_path / "drawn"]
    found = refusal(capsys, *arguments, "--min-weight", 0.1)
    assert found.startswith("--min-weight 0.1 changes nothing: the heads of this model are softmax heads, which have ")
    assert found.endswith("no components to leave out; use --min-weight 0, for example with --temperature 0.8")
    assert main([*map(str, arguments), "--min-weight", "0"]) == 0


def test_samples_record_the_usual_reduction(finished, softmax, tmp_path):
    assert main(["sample", str(finished), "-n", "1", "--rule", "reduced", "--out", str(tmp_path / "reduced")]) == 0
    facts = read_json(tmp_path / "reduced" / "samples.json")
    assert (facts["rule"], facts["reduction"], facts["min_weight"]) == ("reduced", 0.4, 0.05)
    assert main(["sample", str(softmax), "-n", "1", "--temperature", "0.5", "--out", str(tmp_path / "cold")]) == 0
    assert read_json(tmp_path / "cold" / "samples.json")["temperature"] == 0.5


def test_figures_of_rules_that_no_head_uses_are_left_out(pictures, softmax):
    assert [entry["file"] for entry in read_json(softmax / "figures" / "figures.json")] == ["memorization.png"]
    before = (softmax / "report.html").stat().st_mtime_ns
    run(softmax, tiny(pictures, stage=None, **SOFTMAX, sampling__figure_rows=1, sampling__images=1))
    assert (softmax / "report.html").stat().st_mtime_ns == before, "the run was not seen to be finished"


EXACT = {"reduction": 0.0, "min_weight": 0.0}


@pytest.mark.parametrize(
    ("written", "settings", "options", "expected"),
    [
        ({"rule": "reduced"}, [], {}, ("reduced", 0.4, 0.05)),
        ({"rule": "reduced", "reduction": 0.0}, [], {}, ("reduced", 0.0, 0.0)),
        (EXACT, [], {"rule": "reduced"}, ("reduced", 0.4, 0.05)),
        (EXACT, ["sampling.rule=reduced"], {}, ("reduced", 0.4, 0.05)),
        (EXACT, ["sampling.rule=reduced", "sampling.reduction=0"], {}, ("reduced", 0.0, 0.0)),
        (EXACT, ["sampling.reduction=0", "sampling.rule=reduced"], {}, ("reduced", 0.0, 0.0)),
        (EXACT, [], {"rule": "reduced", "reduction": 0.0}, ("reduced", 0.0, 0.0)),
        ({"rule": "reduced", "reduction": 0.6}, [], {"rule": "reduced"}, ("reduced", 0.6, 0.05)),
        ({"rule": "reduced", "reduction": 0.6}, ["sampling.rule=map"], {}, ("map", 0.0, 0.05)),
        ({"rule": "reduced", "reduction": 0.6}, ["sampling.seed=1"], {}, ("reduced", 0.6, 0.05)),
        ({}, ['sampling={rule="reduced", reduction=0.3}'], {}, ("reduced", 0.3, 0.05)),
        (EXACT, [], {"rule": "map"}, ("map", 0.0, 0.05)),
        (EXACT, [], {"rule": "map", "min_weight": 0.0}, ("map", 0.0, 0.0)),
        (EXACT, ["sampling.min_weight=0"], {"rule": "map"}, ("map", 0.0, 0.0)),
        ({"rule": "map", "min_weight": 0.2}, ["sampling.seed=1"], {"rule": "map"}, ("map", 0.0, 0.2)),
        ({"rule": "map", "min_weight": 0.2}, [], {"rule": "reduced"}, ("reduced", 0.4, 0.05)),
        ({"rule": "map", "min_weight": 0.2}, [], {"rule": "ancestral"}, ("ancestral", 0.0, 0.0)),
        ({"rule": "reduced", "min_weight": 0.2}, [], {"reduction": 0.6}, ("reduced", 0.6, 0.2)),
        ({"rule": "reduced", "min_weight": 0.2}, [], {"reduction": 0.0}, ("reduced", 0.0, 0.0)),
        ({"rule": "reduced", **EXACT}, [], {"reduction": 0.6}, ("reduced", 0.6, 0.05)),
        ({"rule": "map", "min_weight": 0.0}, [], {}, ("map", 0.0, 0.0)),
    ],
)
def test_a_new_rule_has_its_own_options(pictures, tmp_path, written, settings, options, expected):
    table = tiny(pictures, sampling=written)
    recipe, _ = load_recipe_of_run(write(tmp_path / "recipe.toml", table), settings, sampling=options)
    assert (recipe.sampling.rule, recipe.sampling.reduction, recipe.sampling.min_weight) == expected
