"""Tests that commands refuse rules that change nothing, record the rule, and name folders of samples by it."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_runs import run, snapshot, tiny, write
from PIL import Image

import auxar
from auxar.cli import main
from auxar.files import read_json

NOTHING = "the rule 'tempered' changes nothing: the heads of this model are logistic mixture heads, which understand "
SHARPER = """
import attrs
from auxar import Adjustments, Component, Rule, hookimpl

AUXAR_INTERFACE = 1

@attrs.frozen
class Sharper(Rule):
    reduction: float = 0.5

    def adjustments(self, depth):
        return Adjustments(reduction=self.reduction)

@hookimpl
def auxar_register_components():
    return [Component("rule", "sharper", Sharper)]
"""
SOFTMAX = {"prior__head": "softmax"}


@pytest.fixture(scope="module")
def softmax(pictures, tmp_path_factory):
    """A finished run of one softmax prior, with figures."""
    table = tiny(pictures, stage=None, **SOFTMAX, sampling__figure_rows=1, sampling__images=1)
    return run(tmp_path_factory.mktemp("softmax") / "run", table)


@pytest.mark.parametrize("kind", ["type", "object"])
def test_an_option_whose_type_recipes_cannot_give_is_named(refused, pictures, tmp_path, kind):
    text = SHARPER.replace("    reduction: float", f"    shape: {kind} = int\n    reduction: float")
    (tmp_path / "sharper.py").write_text(text)
    recipe = write(tmp_path / "recipe.toml", tiny(pictures, plugins=["sharper.py"], sampling__rule="sharper"))
    found = refused("check", recipe, "--trust-plugins")
    assert re.search(
        rf"sampling\.rule: the option 'shape' of \w+_sharper_\w+\.Sharper has the type <class '{kind}'>; ", found
    )


def test_a_rule_that_changes_nothing_is_refused_before_training_and_drawing(finished, refused, pictures, tmp_path):
    recipe = write(tmp_path / "recipe.toml", tiny(pictures, sampling__rule="tempered"))
    for command in (["check", recipe], ["run", recipe, "--out", tmp_path / "run"]):
        assert refused(*command).startswith(f"sampling.rule: {NOTHING}")
    assert not (tmp_path / "run").exists()
    assert refused("sample", finished, "--rule", "tempered").startswith(f"--rule: {NOTHING}")


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("by_depth", "by_depth-seed0"),
        ("by_depth:coarse=map", r"by_depth-coarsemap-min_weight0\.05-seed0"),
        ("by_depth:fine=reduced:reduction=0.25", r"by_depth-finereduced-reduction0\.25-min_w-[0-9a-f]{8}-seed0"),
    ],
)
def test_samples_by_depth_are_named_by_the_options_that_differ(finished, rule, name, tmp_path, capsys):
    assert main(["sample", str(finished), "-n", "1", "--rule", rule]) == 0
    assert re.fullmatch(name, Path(capsys.readouterr().out.strip()).name)


def test_figures_of_rules_that_no_head_uses_are_left_out(pictures, softmax):
    assert [entry["file"] for entry in read_json(softmax / "figures" / "figures.json")] == ["memorization.png"]
    before = (softmax / "report.html").stat().st_mtime_ns
    run(softmax, tiny(pictures, stage=None, **SOFTMAX, sampling__figure_rows=1, sampling__images=1))
    assert (softmax / "report.html").stat().st_mtime_ns == before, "the run was not seen to be finished"


def test_a_run_is_drawn_from_by_the_rule_of_a_plugin_file(finished, refused, tmp_path, monkeypatch):
    """The file has the name of a plugin of auxar, and is no part of the run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.py").write_text(SHARPER)
    before = snapshot(finished)
    sample = ["sample", str(finished), "-n", "2", "--rule", "sharper:reduction=0.9", "--out", "drawn"]
    assert refused(*sample).startswith("--rule: no rule is named 'sharper' (known: ")
    setting = ["--set", 'plugins=["rules.py"]']
    assert "add --trust-plugins" in refused(*sample, *setting)
    assert main([*sample, *setting, "--trust-plugins"]) == 0
    expected = auxar.load(finished).sample(2, rule="reduced:reduction=0.9,min_weight=0")
    for number, image in enumerate(expected):
        with Image.open(f"drawn/images/{number:06d}.png") as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(image.to_pil()))
    assert read_json(tmp_path / "drawn/samples.json")["rule"] == {"name": "sharper", "reduction": 0.9}
    assert snapshot(finished) == before
