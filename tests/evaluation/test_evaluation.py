"""Tests that an evaluation counts every image once, and that its figures add up over factors and channels."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tomli_w
import torch
from accelerate import Accelerator
from helpers.causal_networks import (
    SEEDS,
    all_images,
    generator,
    light_networks,
    random_features,
    random_images,
    randomized,
    specs,
)
from helpers.evaluations import figures_of
from helpers.tiny_runs import PROJECT, VIEW, call, command, run, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import auxar
from auxar.cli import main
from auxar.commands.evaluate import evaluate
from auxar.data import DataSets, load_images
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import DataFacts, FactorFacts
from auxar.evaluation.image_nats import factor_nats, joined
from auxar.evaluation.stored import read_evaluation
from auxar.files import DamagedFile, read_checksum
from auxar.model import CausalDistribution, Chain, Factor, Head, ImageSpec, Prior
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model
from auxar.recipe.loading import parse_recipe
from auxar.report.text import evaluation_lines
from auxar.runs.records import read_record
from auxar.work.team import Team
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead

COUNTS = {"heldout": 6, "training": 18}
DIMS = [192, 48, 12]
MEASURED = re.compile(r"-?\d+\.\d+ ± \d+\.\d+|–")


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    """A run of three factors."""
    table = tiny(pictures, stage__0__repeat=2, sampling__images=0)
    return run(tmp_path_factory.mktemp("finished") / "run", table)


@pytest.fixture(scope="module")
def data(finished) -> DataSets:
    recipe, registry = load_recipe(finished / "recipe.toml")
    return load_images(recipe.data, recipe.image, registry)


@pytest.fixture(scope="module")
def nats(finished, data) -> dict[str, torch.Tensor]:
    """Log-likelihoods (nats) of images evaluated one at a time, shape (factors, images), for each set of images."""
    model = auxar.load(finished).chain
    found = {}
    for name, images in (("heldout", data.heldout), ("training", data.train)):
        with torch.no_grad():
            single = [
                torch.stack([part.log_prob for part in model.log_probs(pixels[None])])
                for _, pixels in images.every(1, 0, None)
            ]
        found[name] = torch.cat(single, dim=1).double()
        assert found[name].shape == (3, COUNTS[name])
    return found


@pytest.fixture(scope="module")
def bits(finished, data) -> dict[str, list[float]]:
    """Bits/dim of images evaluated one at a time by the whole model in float64, for each set of images."""
    model = auxar.load(finished).chain.double()
    with torch.no_grad():
        return {
            name: [model.log_prob(pixels[None]).item() / (-math.log(2) * 192) for _, pixels in images.every(1, 0, None)]
            for name, images in (("heldout", data.heldout), ("training", data.train))
        }


def near(value: float | None) -> object:
    """Returns an approximation of a value with the tolerance of float32; None stays None."""
    return None if value is None else pytest.approx(value, rel=1e-4, abs=1e-6)


def printed(folder: Path) -> list[str]:
    """Returns the lines that `auxar evaluate` prints for the evaluation of a run."""
    return evaluation_lines(read_evaluation(folder / "evaluation.safetensors"))


def error_of(values: np.ndarray) -> float:
    return values.std(ddof=1) / math.sqrt(len(values))


# Every image once


@pytest.mark.parametrize(("batch_size", "limit"), [(1, 5), (4, None), (7, 17), (64, 1)])
def test_every_image_counts_once_whatever_the_batch(finished, data, nats, batch_size, limit):
    model = auxar.load(finished).chain
    chain = model.factors
    found = factor_nats(model, chain, data.train, Team(Accelerator()), batch_size=batch_size, limit=limit)
    rows = [found[f"{factor.name}.nats"] for factor in chain]
    assert all(each.dtype == torch.float64 for each in rows)
    total = torch.stack([each.sum(1) for each in rows])
    torch.testing.assert_close(total, nats["training"][:, :limit], rtol=1e-5, atol=1e-3)


def test_factors_can_be_evaluated_apart(finished, data, nats):
    model = auxar.load(finished).chain
    for index, factor in enumerate(model.factors):
        found = factor_nats(model, [factor], data.heldout, Team(Accelerator()), batch_size=4)
        torch.testing.assert_close(found[f"{factor.name}.nats"].sum(1), nats["heldout"][index], rtol=1e-5, atol=1e-3)


def test_the_total_is_that_of_single_images_in_float64(finished, bits):
    table = figures_of(evaluate(finished, settings=["evaluation.batch_size=7"]).path)
    for name, values in bits.items():
        assert table["bits_per_dim"][name] == pytest.approx(np.mean(values), abs=1e-5)
        assert table["standard_error"][name] == pytest.approx(error_of(np.array(values)), abs=1e-5)


@pytest.mark.slow
def test_two_processes_evaluate_as_one_and_print_once(finished, bits):
    """With only one training image, the second process evaluates no training image."""
    options = ["--set", "evaluation.batch_size=2", "evaluation.train_images=1"]
    before = figures_of(finished)
    done = call(command("evaluate", finished, *options, processes=2), finished.parent)
    assert done.returncode == 0, done.stderr
    table = figures_of(finished)
    assert table["images"] == {"heldout": 6, "training": 1}
    assert table["data"] == before["data"]
    assert table["bits_per_dim"]["heldout"] == pytest.approx(np.mean(bits["heldout"]), abs=1e-5)
    assert table["bits_per_dim"]["training"] == pytest.approx(bits["training"][0], abs=1e-5)
    for entry, alone in zip(table["factors"], before["factors"], strict=True):
        for channel, other in zip(entry["heldout"]["channels"], alone["heldout"]["channels"], strict=True):
            assert channel["nats"] == pytest.approx(other["nats"], rel=1e-5)
            assert channel["wasted_bits_per_dim"] == near(other["wasted_bits_per_dim"])
        assert entry["heldout"]["wasted_bits_per_dim"] == near(alone["heldout"]["wasted_bits_per_dim"])
        assert len(entry["training"]["channels"]) == 3
        # The second process has no training image, so it cannot know by itself which factors report wasted bits.
        assert (entry["training"]["wasted_bits_per_dim"] is None) == (entry["factor"] == "prior")
    assert table["wasted_bits_per_dim"]["heldout"] == near(before["wasted_bits_per_dim"]["heldout"])
    assert table["wasted_bits_per_dim"]["training"] > 0
    assert done.stdout.splitlines() == printed(finished)


# Contents of the table


def test_figures_of_each_factor(finished, nats):
    table = figures_of(evaluate(finished).path)
    assert [entry["factor"] for entry in table["factors"]] == ["stage0", "stage1", "prior"]
    for name in COUNTS:
        for index, entry in enumerate(table["factors"]):
            rows = nats[name][index:].numpy()
            own = -rows[0] / math.log(2) / DIMS[index]
            share = -rows[0] / math.log(2) / 192
            together = -rows.sum(0) / math.log(2) / DIMS[index]
            figures = {key: value for key, value in entry[name].items() if not key.startswith("wasted")}
            del figures["channels"]
            assert figures == {
                "nats": pytest.approx(rows[0].mean(), rel=1e-6),
                "nats_standard_error": pytest.approx(error_of(rows[0]), rel=1e-4),
                "bits_per_dim": pytest.approx(own.mean(), rel=1e-6),
                "standard_error": pytest.approx(error_of(own), rel=1e-4),
                "bits_per_dim_of_image": pytest.approx(share.mean(), rel=1e-6),
                "standard_error_of_image": pytest.approx(error_of(share), rel=1e-4),
                "cumulative_bits_per_dim": pytest.approx(together.mean(), rel=1e-6),
                "cumulative_standard_error": pytest.approx(error_of(together), rel=1e-4),
            }
        parts = sum(entry[name]["bits_per_dim_of_image"] for entry in table["factors"])
        assert table["bits_per_dim"][name] == pytest.approx(parts, rel=1e-6)


def test_held_out_less_training(finished):
    table = figures_of(evaluate(finished).path)
    for entry in table["factors"]:
        sides = [entry[name] for name in ("heldout", "training")]
        assert entry["difference"] == {
            "bits_per_dim": pytest.approx(sides[0]["bits_per_dim"] - sides[1]["bits_per_dim"]),
            "standard_error": pytest.approx(math.hypot(*(side["standard_error"] for side in sides))),
        }
    bits, errors = table["bits_per_dim"], table["standard_error"]
    assert table["difference"] == {
        "bits_per_dim": pytest.approx(bits["heldout"] - bits["training"]),
        "standard_error": pytest.approx(math.hypot(errors["heldout"], errors["training"])),
    }


def test_the_table_says_what_it_is_about(finished, data):
    table = figures_of(evaluate(finished).path)
    keys = {"bits_per_dim", "standard_error", "difference", "kind", "factors", "images", "weights", "data"}
    keys |= {"wasted_bits_per_dim", "wasted_standard_error", "arithmetic", "digests", "checksums"}
    assert table.keys() == keys | {"condition", "without_condition", "condition_figures"}
    assert (table["kind"], table["weights"]) == ("bound", "ema")
    recipe, _ = load_recipe(finished / "recipe.toml")
    assert data.heldout.fingerprint != data.train.fingerprint
    digest = hashlib.sha256()
    for _, image in data.heldout.every(1, 0, None):
        digest.update(hashlib.sha256(image.numpy().tobytes()).digest())
    assert table["data"] == {
        "path": recipe.data.path,
        "fingerprint": data.train.fingerprint,
        "heldout_fingerprint": data.heldout.fingerprint,
        "skipped": 0,
        "heldout_digest": digest.hexdigest(),
    }
    sizes = [8, 4, 2]
    for factor, entry, size in zip(auxar.load(finished).chain.factors, table["factors"], sizes, strict=True):
        assert entry["image"] == {"channels": 3, "height": size, "width": size, "levels": 256}
        below = {"channels": 3, "height": size // 2, "width": size // 2, "levels": 256}
        assert entry["view"] == (None if entry["factor"] == "prior" else below)
        assert entry["parameters"] == sum(parameter.numel() for parameter in factor.parameters())
        assert (entry["steps"], entry["weights"]) == (4, "ema")
        assert entry["trained_on"] == data.train.fingerprint


def test_a_model_without_views_is_exact(pictures, tmp_path, caplog):
    caplog.set_level("INFO", "auxar")
    table = tiny(pictures, stage=None, sampling__images=0, training__ema=0.0, evaluation__train_images=0)
    folder = run(tmp_path / "run", table)
    table, lines = figures_of(folder), printed(folder)
    assert (table["kind"], table["weights"]) == ("exact", "last")
    assert table["bits_per_dim"]["heldout"] == pytest.approx(table["factors"][0]["heldout"]["bits_per_dim"], rel=1e-12)
    assert "weights   last, the weights of the last step" in lines
    assert "total     exact, log p(X): the bits/dim of the images themselves" in lines
    assert "training  not evaluated" in lines
    assert " 6 held-out images (exact: the bits/dim of the images themselves)" in caplog.text
    assert "wasted" not in caplog.text
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


def test_factors_see_an_image_and_its_view_only(finished, data):
    model = auxar.load(finished).chain
    images = torch.stack([pixels for _, pixels in data.heldout.every(1, 0, None)])
    views = [*model.views(images), None]
    with torch.no_grad():
        for index, (factor, part) in enumerate(zip(model.factors, model.log_probs(images), strict=True)):
            assert (part.factor, part.image) == (factor.name, factor.image)
            torch.testing.assert_close(factor(views[index], views[index + 1]), part.log_prob)


# Single images


def test_log_likelihoods_of_single_images_are_kept(finished, data, nats):
    evaluate(finished, settings=["evaluation.train_images=5"])
    kept = load_file(finished / "evaluation.safetensors")
    parts = {f"{factor}.nats" for factor in ("stage0", "stage1", "prior")} | {"stage0.inside", "stage1.inside"}
    assert kept.keys() == {f"{name}.{part}" for name in COUNTS for part in parts}
    for name, count in (("heldout", 6), ("training", 5)):
        for factor, expected in zip(("stage0", "stage1", "prior"), nats[name], strict=True):
            rows = kept[f"{name}.{factor}.nats"]
            assert (str(rows.dtype), rows.shape) == ("float64", (3, count))
            np.testing.assert_allclose(rows.sum(0), expected[:count].numpy(), rtol=1e-5, atol=1e-3)
    evaluation = read_evaluation(finished / "evaluation.safetensors")
    weights = {
        factor: finished / "factors" / factor / "weights.safetensors" for factor in ("stage0", "stage1", "prior")
    }
    assert evaluation.checksums == {factor: read_checksum(path) for factor, path in weights.items()}
    assert evaluation.data.heldout_fingerprint == data.heldout.fingerprint


def test_figures_as_flat_rows(finished):
    evaluate(finished)
    evaluation, table = read_evaluation(finished / "evaluation.safetensors"), figures_of(finished)
    rows = {(row["set"], row["factor"], row["channel"]): row for row in evaluation.rows()}
    assert len(rows) == len(evaluation.rows()) == 2 * (1 + 3 * 4)
    assert {name: rows[name, "total", None]["images"] for name in COUNTS} == COUNTS
    assert {name: rows[name, "total", None]["bits_per_dim"] for name in COUNTS} == table["bits_per_dim"]
    of_channel = table["factors"][1]["training"]["channels"][2]
    assert {key: rows["training", "stage1", 2][key] for key in of_channel} == of_channel
    assert all(isinstance(value, str | int | float | None) for row in rows.values() for value in row.values())


# Channels


@st.composite
def pixels(draw):
    """Draws a head, its image spec, and random parameters of two pixels, shape (1, parameter_count, 1, 2)."""
    image = ImageSpec(draw(st.sampled_from([1, 3])), height=1, width=2, levels=draw(st.integers(2, 5)))
    head = draw(st.sampled_from([SoftmaxHead(image), LogisticMixtureHead(image, 1), LogisticMixtureHead(image, 3)]))
    parameters = 2 * torch.randn(1, head.parameter_count, 1, 2, generator=generator(draw(SEEDS)), dtype=torch.float64)
    return head, image, parameters


@settings(deadline=None, max_examples=40)
@given(drawn=pixels())
def test_a_channel_is_what_enumerating_all_others_leaves(drawn):
    head, image, parameters = drawn
    values = all_images(ImageSpec(image.channels, height=1, width=1, levels=image.levels)).expand(-1, -1, -1, 2)
    parameters = parameters.expand(len(values), -1, -1, -1)
    joint = head.log_prob(parameters, values)[:, 0]
    found = head.channel_log_prob(parameters, values)
    assert found.shape == values.shape
    torch.testing.assert_close(found.sum(1)[:, 0], joint, rtol=1e-9, atol=1e-9)
    # p(x₁ … xₙ) is the total probability of all pixels with these first n channels.
    cube = joint.view(*[image.levels] * image.channels, 2)
    before = torch.zeros_like(joint)
    for channel in range(image.channels):
        rest = tuple(range(channel + 1, image.channels))
        beginning = (cube.logsumexp(rest, keepdim=True) if rest else cube).expand_as(cube).reshape(-1, 2)
        torch.testing.assert_close(found[:, channel, 0], beginning - before, rtol=1e-9, atol=1e-9)
        before = beginning


@settings(deadline=None, max_examples=25)
@given(network=light_networks(images=specs(sizes=st.sampled_from([(3, 4)])), blocks=(1,)), seed=SEEDS)
def test_channels_add_up_to_the_image(network, seed):
    images = random_images(3, network.image, seed)
    features = random_features(network, 3, seed)
    model, given = (CausalDistribution(network), ()) if features is None else (CausalDistribution(network), (features,))
    with torch.no_grad():
        found = model.log_prob_by_channel(images, *given)
        assert torch.equal(found.total, model.log_prob(images, *given))
        single = network.head.channel_log_prob(model.parameters_of(images, features, None), images)
    assert found.channels is not None
    assert single is not None
    assert found.channels.shape == (3, network.image.channels)
    torch.testing.assert_close(found.channels.sum(1), found.total, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.channels[:, -1], single[:, -1].sum((1, 2)), rtol=1e-9, atol=1e-9)


def test_figures_of_channels(finished):
    table = figures_of(evaluate(finished).path)
    for entry in table["factors"]:
        for figures in (entry["heldout"], entry["training"]):
            channels = figures["channels"]
            assert len(channels) == 3
            assert sum(each["nats"] for each in channels) == pytest.approx(figures["nats"], rel=1e-5)
            shares = sum(each["bits_per_dim_of_image"] for each in channels)
            assert shares == pytest.approx(figures["bits_per_dim_of_image"], rel=1e-5)
            assert np.mean([each["bits_per_dim"] for each in channels]) == pytest.approx(figures["bits_per_dim"], 1e-5)


def test_the_standard_error_of_a_channel(finished, data):
    model = auxar.load(finished).chain
    views = model.views(torch.stack([pixels for _, pixels in data.heldout.every(1, 0, None)]))
    with torch.no_grad():
        channels = model.factors[-1].distribution.log_prob_by_channel(views[2]).channels
    bits = channels[:, 1].double().numpy() / (-math.log(2) * 4)
    found = figures_of(evaluate(finished).path)["factors"][2]["heldout"]["channels"][1]
    assert found["bits_per_dim"] == pytest.approx(bits.mean(), rel=1e-5)
    assert found["standard_error"] == pytest.approx(error_of(bits), rel=1e-4)


def test_heads_that_do_not_tell_channels_apart_show_none(finished, data, tmp_path, monkeypatch):
    model = auxar.load(finished).chain
    assert isinstance(model, Chain)
    monkeypatch.setattr(model.factors[0].distribution.network.head, "channel_log_prob", lambda parameters, image: None)
    found = factor_nats(model, model.factors, data.heldout, Team(Accelerator()), batch_size=4)
    assert [found[f"{factor.name}.nats"].shape[1] for factor in model.factors] == [1, 3, 3]
    assert [f"{factor.name}.inside" in found for factor in model.factors] == [True, True, False]
    monkeypatch.setattr(LogisticMixtureHead, "channel_log_prob", Head.channel_log_prob)
    path = Path(shutil.copytree(finished, tmp_path / "run"))
    (path / "evaluation.safetensors").unlink()
    table = figures_of(evaluate(path).path)
    assert all(entry[name]["channels"] is None for entry in table["factors"] for name in COUNTS)
    assert table["wasted_bits_per_dim"]["heldout"] > 0
    assert "channel" not in "\n".join(printed(path))


class Uniform(Prior):
    """A prior without a causal network."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def log_prob(self, image):
        return torch.full((len(image),), -self.image.dims * math.log(self.image.levels))

    def draw(self, request, sampler):
        raise NotImplementedError


def test_any_prior_can_be_evaluated(data):
    model = Chain([Factor(Uniform(data.heldout.image))])
    nats = factor_nats(model, model.factors, data.heldout, Team(Accelerator()), batch_size=4)["prior.nats"]
    assert nats.shape == (6, 1)
    assert (nats[:, 0] / (-math.log(2) * 192)).tolist() == pytest.approx([8.0] * 6)


FACTS = DataFacts("pictures", "f00d", "feed", 0, None)


class Bound(Uniform):
    """A prior whose log-likelihood is only a lower bound."""

    exact = False


@pytest.mark.parametrize(("prior", "kind"), [(Uniform, "exact"), (Bound, "bound")])
def test_a_prior_is_exact_or_a_bound_as_it_says(data, prior, kind):
    model = Chain([Factor(prior(data.heldout.image))])
    [factor] = model.factors
    table = Evaluation([FactorFacts.of(factor, {}, None)], FACTS)
    assert (table.kind, table.factors[0].kind, table.cumulative_kinds) == (kind, kind, [kind])


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("ema", "ema", "ema"), "EMA, the exponential moving average of the weights"),
        (("last", "last", "last"), "last, the weights of the last step"),
        (("ema", "last", "ema"), "mixed, different kinds of weights for different factors, "),
        (("last", "ema", "last"), "mixed, different kinds of weights for different factors, "),
        (("own", "own", "own"), "own, the weights of the user's own training loop"),
        (("own", "last", "own"), "mixed, different kinds of weights for different factors, "),
        ((None, None, "last"), "last, the weights of the last step"),
        ((None, None, None), "mixed, different kinds of weights for different factors, or no trained "),
    ],
)
def test_the_weights_are_averaged_if_those_of_all_trained_factors_are(finished, kinds, expected):
    chain = auxar.load(finished).chain.factors
    metadata = [{"weights": kind} if kind else {} for kind in kinds]
    facts = [FactorFacts.of(factor, entry, None) for factor, entry in zip(chain, metadata, strict=True)]
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


def test_only_spelled_numbers_are_read_as_numbers(tmp_path):
    for text in ('["Infinite"]', '["1.0"]', '["nan"]', "[true]"):
        (tmp_path / "floats.json").write_text(text)
        with pytest.raises(DamagedFile, match="expected float"):
            read_record(tmp_path / "floats.json", list[float])


# Exact figures, bounds and wasted bits


SUPPORTS = {
    "free": ("free", "free"),
    "restricted": ("restricted", "restricted"),
    "free above": ("free", "restricted"),
    "free below": ("restricted", "free"),
}


def chained(pictures: Path, supports: Sequence[str], **changes: Any) -> dict[str, Any]:
    """Returns the tiny recipe's table with one stage for each entry of `supports`."""
    table = tiny(pictures, sampling__images=0, **changes)
    table["stage"] = [{**table["stage"][0], "support": support} for support in supports]
    return table


@pytest.mark.parametrize("supports", SUPPORTS.values(), ids=SUPPORTS)
def test_the_kinds_of_chains(pictures, tmp_path, supports):
    folder = run(tmp_path / "run", chained(pictures, supports))
    table = figures_of(folder)
    kinds = {"free": "bound", "restricted": "exact"}
    assert [entry["support"] for entry in table["factors"]] == [*supports, None]
    assert [entry["kind"] for entry in table["factors"]] == [*(kinds[support] for support in supports), "exact"]
    below = ["bound" if "free" in supports[place:] else "exact" for place in range(3)]
    assert [entry["cumulative_kind"] for entry in table["factors"]] == below
    assert table["kind"] == below[0]
    for name in COUNTS:
        shares = []
        for entry in table["factors"]:
            figures = entry[name]
            cells = [*(value for key, value in figures.items() if key.startswith("wasted"))]
            cells += [value for each in figures["channels"] for key, value in each.items() if key.startswith("wasted")]
            assert len(cells) == 16
            if entry["support"] != "free":
                assert cells == [None] * 16
                continue
            assert min(cells) > 0
            shares.append(figures["wasted_bits_per_dim_of_image"])
            channels = figures["channels"]
            assert np.mean([each["wasted_bits_per_dim"] for each in channels]) == near(figures["wasted_bits_per_dim"])
            assert sum(each["wasted_bits_per_dim_of_image"] for each in channels) == near(shares[-1])
        assert table["wasted_bits_per_dim"][name] == near(sum(shares))
        assert (table["wasted_standard_error"][name] == 0) == (not shares)
    lines = printed(folder)
    assert lines[4].startswith("total     " + {"bound": "an upper bound, ", "exact": "exact, "}[table["kind"]])
    block = "\n".join(lines).partition("\n\nWasted bits: ")[2].splitlines()
    named = [f"stage{place}" for place, support in enumerate(supports) if support == "free"]
    assert [line.split()[0] for line in block[2:]] == (["factor", *named, "total"] if named else [])


@pytest.mark.parametrize("head", ["logistic_mixture", "softmax"])
@pytest.mark.parametrize("view", ["pyramid", "grayscale", "bitplanes", "subsample"])
def test_what_is_wasted_is_what_restricting_the_same_weights_saves(data, view, head):
    """Restricting the same weights saves the bits that a free decoder wastes, for each image and channel."""
    build = free_and_restricted(view, head)
    free, restricted = (
        factor_nats(model, model.factors[:1], data.heldout, Team(Accelerator()), batch_size=4) for model in build
    )
    assert "stage0.inside" not in restricted
    inside = free["stage0.inside"]
    assert inside.shape == (6, 3)
    assert inside.sum(1).max() < -1
    torch.testing.assert_close(free["stage0.nats"] - inside, restricted["stage0.nats"], rtol=1e-9, atol=1e-9)
    assert restricted["stage0.nats"].isfinite().all()


def free_and_restricted(view: str, head: str) -> list[Chain]:
    """Returns two float64 models of 8×8 images with the same weights. Their decoders are free and restricted."""
    options = {"pyramid": {"factor": 2}, "grayscale": {}, "bitplanes": {"drop": 4}, "subsample": {"factor": 2}}[view]
    changes: dict[str, Any] = {"stage__0__view": {"name": view, **options}, "stage__0__decoder__head": head}
    models = []
    for support in ("free", "restricted"):
        recipe, registry = parse_recipe(
            tomli_w.dumps(tiny(Path("unread"), stage__0__support=support, **changes)), PROJECT
        )
        models.append(randomized(build_model(recipe, registry), seed=1))
    return models


def test_the_same_weights_in_a_restricted_run_have_so_many_bits_fewer(finished, tmp_path):
    before = figures_of(evaluate(finished).path)
    folder = Path(shutil.copytree(finished, tmp_path / "restricted"))
    recipe = (folder / "recipe.toml").read_text()
    assert recipe.count('support = "free"') in (1, 2)
    (folder / "recipe.toml").write_text(recipe.replace('support = "free"', 'support = "restricted"'))
    after = figures_of(evaluate(folder).path)
    assert (before["kind"], after["kind"]) == ("bound", "exact")
    for name in COUNTS:
        saved = before["bits_per_dim"][name] - after["bits_per_dim"][name]
        assert before["wasted_bits_per_dim"][name] == pytest.approx(saved, rel=1e-5)
        for entry, other in zip(before["factors"][:2], after["factors"], strict=False):
            own, fewer = entry[name], other[name]
            saved = own["bits_per_dim"] - fewer["bits_per_dim"]
            assert own["wasted_bits_per_dim"] == pytest.approx(saved, rel=1e-5)
            for channel, less in zip(own["channels"], fewer["channels"], strict=True):
                saved = channel["bits_per_dim"] - less["bits_per_dim"]
                assert channel["wasted_bits_per_dim"] == pytest.approx(saved, rel=1e-5)


def test_the_standard_errors_of_what_is_wasted(finished, data):
    model = auxar.load(finished).chain
    stages = factor_nats(model, model.factors[:2], data.heldout, Team(Accelerator()), batch_size=4)
    table = figures_of(evaluate(finished).path)
    whole = np.zeros(6)
    for entry, dims in zip(table["factors"][:2], DIMS, strict=False):
        lost, figures = -stages[f"{entry['factor']}.inside"].numpy().T / math.log(2), entry["heldout"]
        whole += lost.sum(0) / 192
        assert figures["wasted_standard_error"] == near(error_of(lost.sum(0) / dims))
        assert figures["wasted_standard_error_of_image"] == near(error_of(lost.sum(0) / 192))
        for row, channel in zip(lost, figures["channels"], strict=True):
            assert channel["wasted_standard_error"] == near(error_of(row / (dims / 3)))
    assert table["wasted_bits_per_dim"]["heldout"] == near(whole.mean())
    assert table["wasted_standard_error"]["heldout"] == near(error_of(whole))


def test_a_free_factor_that_cannot_tell_leaves_no_total(pictures, tmp_path):
    """A free decoder cannot report wasted bits if its view defines no support, so there is no total either."""
    (tmp_path / "thin.py").write_text(VIEW)
    table = chained(pictures, ("free", "free"), plugins=["thin.py"])
    table["stage"][0]["view"] = {"name": "thin", "every": 2}
    folder = run(tmp_path / "run", table)
    table = figures_of(folder)
    above, below, _ = (entry["heldout"] for entry in table["factors"])
    assert above["wasted_bits_per_dim"] is None
    assert [channel["wasted_bits_per_dim"] for channel in above["channels"]] == [None] * 3
    assert below["wasted_bits_per_dim"] > 0
    assert table["wasted_bits_per_dim"] == {"heldout": None, "training": None}
    *_, first, second, total = printed(folder)
    assert MEASURED.findall(first) == ["–"] * 5
    assert len(MEASURED.findall(second)) == 5
    assert MEASURED.findall(total) == ["–"]


def test_a_decoder_that_cannot_be_restricted_does_not_tell(finished, data, monkeypatch):
    model = auxar.load(finished).chain
    assert isinstance(model, Chain)
    monkeypatch.setattr(model.factors[0].distribution, "restricts", False)
    found = factor_nats(model, model.factors, data.heldout, Team(Accelerator()), batch_size=4)
    assert [f"{factor.name}.inside" in found for factor in model.factors] == [False, True, False]


# Printed tables


def test_what_is_printed(finished, capsys):
    assert main(["evaluate", str(finished)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = figures_of(finished)
    assert lines == printed(finished)
    assert max(map(len, lines)) <= 100
    assert lines[1] == f"held-out  6 images, fingerprint {table['data']['heldout_fingerprint']}"
    assert lines[2] == f"training  18 images, fingerprint {table['data']['fingerprint']}"
    assert lines[3] == "weights   EMA, the exponential moving average of the weights"
    assert lines[4].startswith("total     an upper bound, ")
    blocks = [block.splitlines() for block in "\n".join(lines).split("\n\n")[1:]]
    assert [block[0].split(",")[0].split(":")[0] for block in blocks] == [
        "Held-out images",
        "Training images",
        "Held-out minus training images",
        "By channel",
        "Wasted bits",
    ]
    assert [line.split()[0] for line in blocks.pop()[2:]] == ["factor", "stage0", "stage1", "total"]
    for block in blocks:
        assert "bits/dim" in block[0]
        rows = ["factor", "stage0", "stage1", "prior", "total"]
        assert [line.split()[0] for line in block[1:]] == rows[: len(block) - 1]
        assert len({len(line) for line in block[1:5]}) == 1


def test_the_printed_figures_are_those_of_the_table(finished):
    table = figures_of(evaluate(finished).path)
    heldout, training, sides, channels, wasted = (
        block.splitlines()[2:] for block in "\n".join(printed(finished)).split("\n\n")[1:]
    )

    def shown(value: float, error: float, digits: int = 4) -> str:
        return f"{value:.{digits}f} ± {error:.{digits}f}"

    for place, entry in enumerate(table["factors"]):
        own = entry["heldout"]
        for lines, figures in ((heldout, own), (training, entry["training"])):
            assert MEASURED.findall(lines[place]) == [
                shown(figures["nats"], figures["nats_standard_error"], 1),
                shown(figures["bits_per_dim"], figures["standard_error"]),
                shown(figures["bits_per_dim_of_image"], figures["standard_error_of_image"]),
                shown(figures["cumulative_bits_per_dim"], figures["cumulative_standard_error"]),
            ]
        assert MEASURED.findall(sides[place]) == [
            shown(each["bits_per_dim"], each["standard_error"])
            for each in (own, entry["training"], entry["difference"])
        ]
        assert MEASURED.findall(channels[place]) == [
            shown(each["bits_per_dim"], each["standard_error"]) for each in own["channels"]
        ]
        if entry["factor"] != "prior":
            assert MEASURED.findall(wasted[1 + place]) == [
                shown(own["wasted_bits_per_dim"], own["wasted_standard_error"]),
                shown(own["wasted_bits_per_dim_of_image"], own["wasted_standard_error_of_image"]),
                *(shown(each["wasted_bits_per_dim"], each["wasted_standard_error"]) for each in own["channels"]),
            ]
    totals = [shown(table["bits_per_dim"][name], table["standard_error"][name]) for name in ("heldout", "training")]
    assert [MEASURED.findall(lines[3]) for lines in (heldout, training)] == [[total] for total in totals]
    difference = shown(table["difference"]["bits_per_dim"], table["difference"]["standard_error"])
    assert MEASURED.findall(sides[3]) == [*totals, difference]
    of_all = shown(table["wasted_bits_per_dim"]["heldout"], table["wasted_standard_error"]["heldout"])
    assert MEASURED.findall(wasted[3]) == [of_all]


def test_every_printed_figure_is_said_to_be_exact_or_a_bound(finished):
    heldout, training, sides, channels, _ = (
        block.splitlines()[2:] for block in "\n".join(printed(evaluate(finished).path)).split("\n\n")[1:]
    )
    for lines, place in ((heldout, 2), (training, 2), (sides, 1), (channels, 1)):
        assert [line.split()[place] for line in lines] == ["bound", "bound", "exact", "bound"][: len(lines)]
    for lines in (heldout, training):
        assert [line.split()[-1] for line in lines[:3]] == ["bound", "bound", "exact"]


def test_factors_that_are_not_trained_are_said(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures), only=["prior"])
    table = figures_of(folder)
    assert table["factors"][0]["heldout"] is None
    assert table["bits_per_dim"] == {"heldout": None, "training": None}
    lines = printed(folder)
    assert lines[-1] == "there is no total, because these factors are not trained yet: stage0"
    stage, prior, total = lines[lines.index("") + 3 :][:3]
    assert MEASURED.findall(stage) == ["–"] * 4
    assert len(MEASURED.findall(prior)) == 4
    assert table["wasted_bits_per_dim"] == {"heldout": None, "training": None}
    assert not [line for line in lines if line.startswith("Wasted")]
    assert MEASURED.findall(total) == ["–"]


def test_many_channels_stay_within_the_screen(finished):
    evaluation = read_evaluation(evaluate(finished).evaluation)
    tensors = {key: nats.repeat(4, 1) for key, nats in evaluation.tensors.items()}
    factors = [attrs.evolve(each, image=attrs.evolve(each.image, channels=12)) for each in evaluation.factors]
    lines = evaluation_lines(attrs.evolve(evaluation, factors=factors, tensors=tensors))
    assert max(map(len, lines)) <= 100
    assert "\n".join(lines).count("channel 11") == 2
