"""Figures are sums over images, each counted once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from runs import run, tiny

import auxar
from auxar.data import DataSets, load_images
from auxar.evaluation import factor_nats
from auxar.files import read_json
from auxar.model import factors, image_levels
from auxar.recipe import load_recipe
from auxar.running import evaluate

COUNTS = {"heldout": 6, "training": 18}


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    """A run of three factors."""
    table = tiny(pictures, stage__0__repeat=2, sampling__images=0)
    return run(tmp_path_factory.mktemp("finished") / "run", table)


@pytest.fixture(scope="module")
def data(finished) -> DataSets:
    recipe, registry = load_recipe(finished / "recipe.toml")
    return load_images(recipe.data, recipe.image, registry.dataset_paths())


@pytest.fixture(scope="module")
def nats(finished, data) -> dict[str, torch.Tensor]:
    """Each image of each set alone: its log-likelihood factor by factor, shape (factors, images)."""
    model = auxar.load(finished)
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


@pytest.mark.parametrize("batch_size", [1, 4, 7, 64])
@pytest.mark.parametrize("limit", [None, 1, 5, 17])
def test_every_image_counts_once_whatever_the_batch(finished, data, nats, batch_size, limit):
    model = auxar.load(finished)
    chain = factors(model)
    found = factor_nats(model, chain, data.train, Accelerator(), batch_size=batch_size, limit=limit)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, nats["training"][:, :limit], rtol=1e-5, atol=1e-3)


def test_factors_can_be_evaluated_apart(finished, data, nats):
    model = auxar.load(finished)
    for index, factor in enumerate(factors(model)):
        found = factor_nats(model, [factor], data.heldout, Accelerator(), batch_size=4)
        torch.testing.assert_close(found, nats["heldout"][index : index + 1], rtol=1e-5, atol=1e-3)


def test_totals_are_sums_of_single_images(finished, data, nats):
    model = auxar.load(finished)
    table = read_json(finished / "evaluation.json")
    for name in COUNTS:
        total = nats[name].sum(0)
        chosen = data.heldout if name == "heldout" else data.train
        images = torch.stack([pixels for _, pixels in chosen.every(1, 0, None)])
        with torch.no_grad():
            torch.testing.assert_close(model.log_prob(images).double(), total, rtol=1e-5, atol=1e-3)
        bits = -total / math.log(2) / 192
        assert table["bits_per_dim"][name] == pytest.approx(bits.mean().item(), rel=1e-6)
        assert table["standard_error"][name] == pytest.approx(bits.std().item() / math.sqrt(len(bits)), rel=1e-4)
        assert table["images"][name] == COUNTS[name]


def test_figures_of_each_factor(finished, nats):
    table = read_json(finished / "evaluation.json")
    dims = [192, 48, 12]
    assert [entry["factor"] for entry in table["factors"]] == ["stage0", "stage1", "prior"]
    for name in COUNTS:
        for index, entry in enumerate(table["factors"]):
            figures, rows = entry[name], nats[name][index:]
            own = -rows[0] / math.log(2) / dims[index]
            together = -rows.sum(0) / math.log(2) / dims[index]
            assert figures == {
                "nats": pytest.approx(rows[0].mean().item(), rel=1e-6),
                "bits_per_dim": pytest.approx(own.mean().item(), rel=1e-6),
                "standard_error": pytest.approx(own.std().item() / math.sqrt(len(own)), rel=1e-4),
                "bits_per_dim_of_image": pytest.approx(own.mean().item() * dims[index] / 192, rel=1e-6),
                "cumulative_bits_per_dim": pytest.approx(together.mean().item(), rel=1e-6),
                "cumulative_standard_error": pytest.approx(together.std().item() / math.sqrt(len(own)), rel=1e-4),
            }
        parts = sum(entry[name]["bits_per_dim_of_image"] for entry in table["factors"])
        assert table["bits_per_dim"][name] == pytest.approx(parts, rel=1e-6)


def test_the_table_says_what_it_is_about(finished, data):
    table = read_json(finished / "evaluation.json")
    assert table.keys() == {"bits_per_dim", "standard_error", "kind", "factors", "images", "weights", "data"}
    assert (table["kind"], table["weights"]) == ("bound", "ema")
    recipe, _ = load_recipe(finished / "recipe.toml")
    assert table["data"] == {"path": recipe.data.path, "fingerprint": data.train.fingerprint, "skipped": 0}
    sizes = [8, 4, 2]
    for factor, entry, size in zip(factors(auxar.load(finished)), table["factors"], sizes, strict=True):
        assert entry["image"] == {"channels": 3, "height": size, "width": size, "levels": 256}
        below = {"channels": 3, "height": size // 2, "width": size // 2, "levels": 256}
        assert entry["view"] == (None if entry["factor"] == "prior" else below)
        assert entry["parameters"] == sum(parameter.numel() for parameter in factor.parameters())
        assert entry["steps"] == 4


def test_a_model_without_views_is_exact(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures, stage=None, sampling__images=0, training__ema=0.0))
    table = read_json(folder / "evaluation.json")
    assert (table["kind"], table["weights"]) == ("exact", "last")
    assert table["bits_per_dim"]["heldout"] == table["factors"][0]["heldout"]["bits_per_dim"]


def test_other_settings_for_one_evaluation(finished):
    before = (finished / "recipe.toml").read_bytes(), read_json(finished / "evaluation.json")
    table = read_json(
        evaluate(
            finished, settings=["evaluation.train_images=0", "evaluation.heldout_images=1", "evaluation.batch_size=5"]
        ).evaluation
    )
    assert table["images"] == {"heldout": 1}
    assert table["bits_per_dim"]["training"] is None
    assert table["bits_per_dim"]["heldout"] is not None
    assert table["standard_error"] == {"heldout": None, "training": None}
    assert (finished / "recipe.toml").read_bytes() == before[0]
    assert read_json(evaluate(finished).evaluation) == before[1]


def test_factors_see_adjacent_levels_only(finished, data):
    model = auxar.load(finished)
    images = torch.stack([pixels for _, pixels in data.heldout.every(1, 0, None)])
    levels = [*image_levels(model, images), None]
    with torch.no_grad():
        for index, (factor, part) in enumerate(zip(factors(model), model.log_probs(images), strict=True)):
            assert (part.factor, part.image) == (factor.name, factor.image)
            torch.testing.assert_close(factor(levels[index], levels[index + 1]), part.log_prob)
