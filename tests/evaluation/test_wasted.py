"""Tests of the bits that free decoders waste on images with other views: restricting the same weights saves them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from accelerate import Accelerator
from helpers.causal_networks import randomized
from helpers.evaluations import figures_of
from helpers.tiny_runs import PROJECT, VIEW, run, tiny

import auxar
from auxar.evaluation.image_nats import factor_nats
from auxar.evaluation.stored import read_evaluation
from auxar.model import Chain
from auxar.recipe.building import build_model
from auxar.recipe.loading import parse_recipe
from auxar.report.evaluation_tables import resolution_table
from auxar.report.text import evaluation_lines
from auxar.work.team import Team

MEASURED = re.compile(r"-?\d+\.\d+ ± \d+\.\d+|–")


def near(value: float) -> object:
    """Returns an approximation of a value with the tolerance of float32."""
    return pytest.approx(value, rel=1e-4, abs=1e-6)


def printed(folder: Path) -> list[str]:
    """Returns the lines that `auxar evaluate` prints for the evaluation of a run."""
    return evaluation_lines(read_evaluation(folder / "evaluation.safetensors"))


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
    _, row = resolution_table(read_evaluation(folder / "evaluation.safetensors")).rows
    assert row.cells == ("kind", *below[::-1])
    for name in ("heldout", "training"):
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
    assert [line.split()[-1] for line in lines[lines.index("") + 3 :][:3]] == below
    block = "\n".join(lines).partition("\n\nWasted bits: ")[2].splitlines()
    named = [f"stage{place}" for place, support in enumerate(supports) if support == "free"]
    assert [line.split()[0] for line in block[2:]] == (["factor", *named, "total"] if named else [])


@pytest.mark.parametrize("head", ["logistic_mixture", "softmax"])
@pytest.mark.parametrize("view", ["pyramid", "grayscale", "bitplanes", "subsample"])
def test_what_is_wasted_is_what_restricting_the_same_weights_saves(finished, view, head):
    """Restricting the same weights saves the bits that a free decoder wastes, for each image and channel."""
    build, data = free_and_restricted(view, head), auxar.load_images(auxar.load(finished))
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
