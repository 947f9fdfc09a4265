"""Tests of the bits that free decoders waste on images with other views: restricting the same weights saves them."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from accelerate import Accelerator
from helpers.causal_networks import randomized
from helpers.evaluations import figures_of
from helpers.tiny_runs import PROJECT, VIEW, run, tiny

import auxar
from auxar.evaluation.image_nats import Pass, factor_nats
from auxar.model import Chain
from auxar.numerics.threads import ThreadChoice
from auxar.recipe.building import build_model
from auxar.recipe.loading import parse_recipe


@pytest.mark.parametrize("head", ["logistic_mixture", "softmax"])
@pytest.mark.parametrize("view", ["pyramid", "grayscale", "bitplanes", "subsample"])
def test_what_is_wasted_is_what_restricting_the_same_weights_saves(finished, view, head):
    """Restricting the same weights saves the bits that a free decoder wastes, for each image and channel."""
    build, data = free_and_restricted(view, head), auxar.load_images(auxar.load(finished))
    free, restricted = (
        factor_nats(Pass(model, model.factors[:1]), data.heldout, Accelerator(), ThreadChoice(None), 4)
        for model in build
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
        recipe = parse_recipe(tomli_w.dumps(tiny(Path("unread"), stage__0__support=support, **changes)), PROJECT)
        models.append(randomized(build_model(recipe), seed=1))
    return models


def test_a_free_factor_that_cannot_tell_leaves_no_total(pictures, tmp_path):
    """A free decoder cannot report wasted bits if its view defines no support, so there is no total either."""
    (tmp_path / "thin.py").write_text(VIEW)
    table = tiny(pictures, sampling__images=0, plugins=["thin.py"])
    table["stage"] *= 2
    table["stage"][0] = {**table["stage"][0], "view": {"name": "thin", "every": 2}}
    folder = run(tmp_path / "run", table)
    table = figures_of(folder)
    above, below, _ = (entry["heldout"] for entry in table["factors"])
    assert above["wasted_bits_per_dim"] is None
    assert [channel["wasted_bits_per_dim"] for channel in above["channels"]] == [None] * 3
    assert below["wasted_bits_per_dim"] > 0
    assert table["wasted_bits_per_dim"] == {"heldout": None, "training": None}
