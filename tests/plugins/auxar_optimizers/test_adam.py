"""Tests of the choice of an optimizer, and of those that are PyTorch's."""

import pytest
import torch
from helpers.tiny_runs import tiny, write

import auxar
from auxar.recipe.building import build_model
from auxar.training.schedules import make_optimizer
from auxar_optimizers import muon


@pytest.mark.parametrize(
    ("setting", "kind", "expected"),
    [
        ({}, muon.Muon, {"momentum": 0.95, "weight_decay": 0.0}),
        ("adam", torch.optim.Adam, {"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0}),
        ("adam:learning_rate=0.1", torch.optim.Adam, {"lr": 0.1, "betas": (0.9, 0.999), "weight_decay": 0}),
        ("adamw", torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.01}),
        ({"name": "adamw", "weight_decay": 0, "betas": [0, 0.5]}, torch.optim.AdamW, {"betas": (0, 0.5)}),
    ],
)
def test_the_optimizer_is_the_chosen_one(pictures, tmp_path, setting, kind, expected):
    recipe = write(tmp_path / "recipe.toml", tiny(pictures, training__optimizer=setting))
    loaded = auxar.load_recipe(recipe)
    factor = build_model(loaded).factors[0]
    optimizer = make_optimizer(factor, loaded.training.optimizer, 100)
    assert type(optimizer) is kind
    assert optimizer.defaults["fused"]
    assert expected.items() <= optimizer.defaults.items()
