"""Tests that the probabilities of all images of a small model add up to 1 in rational arithmetic."""

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from helpers.golden_models import fill, recorded_frequencies

import auxar
from auxar.numerics.range_coder import TOTAL
from auxar_integers.arithmetic import IntegerArithmetic
from auxar_integers.conversion import IntegerConfig

LEVELS = 3


def model_of(folder: Path, support: str) -> Any:
    """A model of gray images of 2 × 2 pixels with a 1 × 1 view, with fixed weights."""
    head = {"name": "logistic_mixture", "components": 2}
    network = {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": head}
    stage = {
        "view": {"name": "pyramid", "factor": 2},
        "embedding": {"name": "resnet", "filters": 3, "blocks_per_group": 1},
        "decoder": network,
        "support": support,
    }
    table = {
        "data": {"path": "images"},
        "image": {"channels": 1, "height": 2, "width": 2, "levels": LEVELS},
        "stage": [stage],
        "prior": network,
        "training": {"steps": 1},
    }
    (folder / "recipe.toml").write_text(tomli_w.dumps(table))
    model = auxar.build(folder / "recipe.toml").chain.eval()
    fill(model)
    return model


@pytest.mark.parametrize("support", ["restricted", "free"])
def test_the_probabilities_of_all_images_add_up_to_one(tmp_path, support):
    model = model_of(tmp_path, support)
    images = torch.tensor(list(itertools.product(range(LEVELS), repeat=4))).view(-1, 1, 2, 2)
    values = model.values(images)
    arithmetic = IntegerArithmetic(IntegerConfig(8, 8))
    probabilities = [Fraction(1)] * len(images)
    for factor in model.factors:
        integers = arithmetic.restore(factor, arithmetic.convert(factor, values))
        with recorded_frequencies() as found:
            integers(values)
        for number, frequencies in enumerate(found[0].flatten(1).tolist()):
            for frequency in frequencies:
                probabilities[number] *= Fraction(frequency, TOTAL)
    # A free decoder gives some probability to images with another view.
    assert sum(probabilities) == 1 if support == "restricted" else 0 < sum(probabilities) < 1
    assert min(probabilities) > 0
