"""Tests that all images drawn by a trained restricted decoder have the given view."""

import numpy as np
import pytest
import torch
from helpers.causal_networks import random_images
from helpers.tiny_runs import metrics, run, tiny
from PIL import Image

import auxar
from auxar.model import Ancestral, Chain, SampleRequest
from auxar_rules import Map, Reduced
from auxar_samplers import AutoSampler

RULES = [Ancestral(), Reduced(0.6), Map()]


@pytest.mark.parametrize(
    ("view", "head"),
    [
        pytest.param({"name": "pyramid", "factor": 2}, "logistic_mixture", id="pyramid"),
        pytest.param({"name": "grayscale"}, "logistic_mixture", id="grayscale", marks=pytest.mark.slow),
        pytest.param({"name": "bitplanes", "drop": 4}, "softmax", id="bitplanes", marks=pytest.mark.slow),
        pytest.param({"name": "subsample", "factor": 2}, "softmax", id="subsample", marks=pytest.mark.slow),
    ],
)
def test_a_thousand_images(pictures, tmp_path, view, head):
    """Draws images given the views of real images and of noise, under every rule."""
    changes = {
        "stage__0__view": view,
        "stage__0__support": "restricted",
        "stage__0__decoder": {"name": "pixelcnn", "filters": 4, "blocks": 1, "head": head},
    }
    steps = {"training__steps": 1, "training__factor": {"stage0": {"steps": 40}}}
    folder = run(tmp_path / "run", tiny(pictures, sampling__images=0, **steps, **changes))
    losses = [line["bits_per_dim"] for line in metrics(folder) if line["factor"] == "stage0"]
    assert sum(losses[-5:]) < sum(losses[:5])
    model = auxar.load(folder).chain
    assert isinstance(model, Chain)
    shown = torch.stack([torch.from_numpy(np.array(Image.open(file))) for file in sorted(pictures.iterdir())])
    noise = random_images(1000 - len(shown), model.image, 3)
    [stage, _] = model.factors
    given = stage.view_of(torch.cat([shown.permute(0, 3, 1, 2).long(), noise]))
    for rule in RULES:
        found = stage.draw(SampleRequest(tuple(range(1000)), 7, rule), AutoSampler(), given)
        assert torch.equal(stage.view_of(found), given)
