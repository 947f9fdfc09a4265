"""Tests that an evaluation counts every image once, and that its figures add up over factors and channels."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from helpers.evaluations import figures_of
from helpers.right_network import Bound, Flat
from helpers.tiny_runs import run, tiny

import auxar
from auxar.cli import main
from auxar.commands.evaluate import evaluate
from auxar.data.loading import load_images
from auxar.data.sets import DataSets
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import DataFacts, FactorFacts
from auxar.evaluation.image_nats import Pass, factor_nats, joined
from auxar.evaluation.stored import read_evaluation
from auxar.model import Chain, Factor, Head
from auxar.numerics.threads import ThreadChoice
from auxar.recipe import load_recipe
from auxar.report.text import evaluation_lines
from auxar.report.words import measured
from auxar_heads.logistic_mixture import LogisticMixtureHead

COUNTS: dict[Any, int] = {"heldout": 6, "training": 18}


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    """A run of three factors."""
    table = tiny(pictures, stage__0__repeat=2, sampling__images=0)
    return run(tmp_path_factory.mktemp("finished") / "run", table)


@pytest.fixture(scope="module")
def data(finished) -> DataSets:
    recipe = load_recipe(finished / "recipe.toml")
    return load_images(recipe.data, recipe.image, recipe.registry)


def printed(folder: Path) -> list[str]:
    """Returns the lines that `auxar evaluate` prints for the evaluation of a run."""
    return evaluation_lines(read_evaluation(folder / "evaluation.safetensors"))


# Every image once


def test_a_model_without_views_is_exact(pictures, tmp_path):
    table = tiny(pictures, stage=None, sampling__images=0, training__ema=0.0, evaluation__train_images=0)
    folder = run(tmp_path / "run", table)
    table, lines = figures_of(folder), printed(folder)
    assert (table["kind"], table["weights"]) == ("exact", "last")
    assert table["bits_per_dim"]["heldout"] == pytest.approx(table["factors"][0]["heldout"]["bits_per_dim"], rel=1e-12)
    assert "weights   last, the weights of the last step" in lines
    assert "total     exact, log p(X): the bits/dim of the images themselves" in lines
    assert "training  not evaluated" in lines
    assert "wasted" not in "".join(lines)
    assert table["wasted_bits_per_dim"] == {"heldout": 0.0, "training": None}
    assert not [line for line in lines if line.startswith(("Training images", "Held-out minus"))]


def test_other_settings_for_one_evaluation(finished):
    before = (finished / "recipe.toml").read_bytes(), figures_of(evaluate(finished).path)
    table = figures_of(
        evaluate(
            finished, settings=["evaluation.train_images=0", "evaluation.heldout_images=1", "evaluation.batch_size=5"]
        ).path
    )
    assert table["images"] == {"heldout": 1}
    assert table["bits_per_dim"]["training"] is None
    assert table["bits_per_dim"]["heldout"] is not None
    assert table["standard_error"] == {"heldout": None, "training": None}
    assert table["difference"] == {"bits_per_dim": None, "standard_error": None}
    assert not [line for line in printed(finished)[5:] if "± " in line.replace("± standard error", "")]
    assert (finished / "recipe.toml").read_bytes() == before[0]
    assert figures_of(evaluate(finished).path) == before[1]


def test_figures_as_flat_rows(finished):
    evaluate(finished)
    evaluation, table = read_evaluation(finished / "evaluation.safetensors"), figures_of(finished)
    rows = {(row["set"], row["factor"], row["channel"]): row for row in evaluation.rows()}
    assert len(rows) == len(evaluation.rows()) == 2 * (1 + 3 * 4)
    assert {name: rows[name, "total", None]["images"] for name in COUNTS} == COUNTS
    assert evaluation.figures().means()["bits_per_dim"] == table["bits_per_dim"]["heldout"]
    assert {name: rows[name, "total", None]["bits_per_dim"] for name in COUNTS} == table["bits_per_dim"]
    of_channel = table["factors"][1]["training"]["channels"][2]
    assert {key: rows["training", "stage1", 2][key] for key in of_channel} == of_channel
    assert all(isinstance(value, str | int | float | None) for row in rows.values() for value in row.values())


# Channels


def test_heads_that_do_not_tell_channels_apart_show_none(finished, data, tmp_path, monkeypatch):
    model = auxar.load(finished).chain
    assert isinstance(model, Chain)
    monkeypatch.setattr(model.factors[0].distribution.network.head, "channel_log_prob", lambda parameters, image: None)
    found = factor_nats(Pass(model, model.factors), data.heldout, Accelerator(), ThreadChoice(None), 4)
    assert [found[f"{factor.name}.nats"].shape[1] for factor in model.factors] == [1, 3, 3]
    assert [f"{factor.name}.inside" in found for factor in model.factors] == [True, True, False]
    monkeypatch.setattr(LogisticMixtureHead, "channel_log_prob", Head.channel_log_prob)
    path = Path(shutil.copytree(finished, tmp_path / "run"))
    (path / "evaluation.safetensors").unlink()
    table = figures_of(evaluate(path).path)
    assert all(entry[name]["channels"] is None for entry in table["factors"] for name in COUNTS)
    assert table["wasted_bits_per_dim"]["heldout"] > 0
    assert "channel" not in "\n".join(printed(path))


FACTS = DataFacts("pictures", "f00d", "feed", 0, None)


@pytest.mark.parametrize(("prior", "kind"), [(Flat, "exact"), (Bound, "bound")])
def test_any_prior_can_be_evaluated_and_is_exact_or_a_bound_as_it_says(data, prior, kind):
    model = Chain([Factor(prior(data.heldout.image))])
    own, threads = Pass(model, model.factors), ThreadChoice(None)
    nats = factor_nats(own, data.heldout, Accelerator(), threads, 4)["prior.nats"]
    assert nats.shape == (6, 1)
    assert (nats[:, 0] / (-math.log(2) * 192)).tolist() == pytest.approx([8.0] * 6)
    table = Evaluation([FactorFacts.of(model.factors[0], {}, None, Path())], FACTS)
    assert (table.kind, table.factors[0].kind, table.cumulative_kinds) == (kind, kind, [kind])


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("ema", "ema", "ema"), "EMA, the exponential moving average of the weights"),
        (("ema", "last", "ema"), "mixed, different kinds of weights for different factors, "),
        (("own", None, "own"), "own, the weights of the user's own training loop"),
        ((None, None, None), "mixed, different kinds of weights for different factors, or no trained "),
    ],
)
def test_the_weights_are_averaged_if_those_of_all_trained_factors_are(finished, kinds, expected):
    chain = auxar.load(finished).chain.factors
    metadata = [{"weights": kind} if kind else {} for kind in kinds]
    facts = [FactorFacts.of(factor, entry, None, Path()) for factor, entry in zip(chain, metadata, strict=True)]
    table = Evaluation(facts, FACTS)
    assert [factor.weights for factor in table.factors] == list(kinds)
    assert evaluation_lines(table)[3].startswith(f"weights   {expected}")


# Numbers that JSON does not have


def strict(text: str) -> Any:
    """Parses JSON, without the numbers that Python's parser accepts in addition."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_figures_of_a_diverged_model_are_valid_json(finished, tmp_path, monkeypatch, value, capsys):
    path = Path(shutil.copytree(finished, tmp_path / "run"))

    def diverged(shares: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        found = joined(shares)
        return {key: torch.full_like(part, value) if key.endswith("nats") else part for key, part in found.items()}

    monkeypatch.setattr("auxar.evaluation.likelihoods.joined", diverged)
    (path / "evaluation.safetensors").unlink()
    assert main(["evaluate", str(path), "--json"]) == 0
    spelled = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    assert strict(capsys.readouterr().out)["factors"][0]["heldout"]["nats"] == spelled
    evaluation = read_evaluation(path / "evaluation.safetensors")
    assert repr(evaluation.figures("heldout", "stage0").nats.value) == repr(value)
    assert main(["compare", str(path), str(finished), "--json"]) == 0
    assert strict(capsys.readouterr().out)["runs"][0]["factors"][0]["heldout"]["nats"] == spelled


# Printed tables


def test_the_printed_figures_are_those_of_the_evaluation(finished, capsys):
    found = read_evaluation(evaluate(finished).evaluation)
    assert main(["evaluate", str(finished)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == printed(finished)
    assert lines[1] == f"held-out  6 images, fingerprint {found.data.heldout_fingerprint}"
    assert lines[2] == f"training  18 images, fingerprint {found.data.fingerprint}"
    assert lines[3] == "weights   EMA, the exponential moving average of the weights"
    assert lines[4].startswith("total     an upper bound, ")
    blocks = [block.splitlines() for block in "\n".join(lines).split("\n\n")[1:]]
    titles = ["Held-out images", "Training images", "Held-out minus training images", "By channel", "Wasted bits"]
    titles.append("Compared with lossless codecs")
    assert [re.split("[:,]", block[0])[0] for block in blocks] == titles
    heldout, training, sides, channels, wasted, _ = (
        [re.split(" {2,}", line) for line in block[2:]] for block in blocks
    )
    for place, (size, kind) in enumerate((("8×8×3", "bound"), ("4×4×3", "bound"), ("2×2×3", "exact"))):
        name = found.factors[place].factor
        for rows, images in zip((heldout, training), COUNTS, strict=True):
            figures = found.figures(images, name)
            means = [measured(figures.nats, 1), measured(figures.bits_per_dim), measured(figures.share)]
            assert rows[place] == [name, size, kind, *means, f"{measured(figures.cumulative)} {kind}"]
        both = [measured(found.bits_per_dim(images, name)) for images in COUNTS]
        assert sides[place] == [name, kind, *both, measured(found.difference(name))]
        own = found.figures("heldout", name)
        assert channels[place] == [name, kind, *(measured(each.bits_per_dim) for each in own.channels)]
        if kind == "bound":
            shares = [measured(own.wasted), measured(own.wasted_share)]
            assert wasted[1 + place] == [name, *shares, *(measured(each.wasted) for each in own.channels)]
    totals = [measured(found.bits_per_dim(images)) for images in COUNTS]
    assert [rows[3] for rows in (heldout, training)] == [["total", "8×8×3", "bound", total] for total in totals]
    assert sides[3] == ["total", "bound", *totals, measured(found.difference())]
    assert wasted[3] == ["total", measured(found.figures("heldout").wasted)]
