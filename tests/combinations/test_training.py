"""Tests of training and validation in runs that combine features, against a loop that is written again."""

import pytest
import torch
from helpers.matrix import MATRIX
from helpers.references import data_of, trained
from helpers.tiny_runs import metrics, weights
from safetensors import safe_open

import auxar


@pytest.mark.parametrize("name", ["labels", "masks"])
def test_training_is_that_of_a_plain_loop(name, run_of, pictures_of):
    out, data = run_of(name), data_of(name, pictures_of[name])
    recipe = MATRIX[name](pictures_of[name])
    settings, drop = recipe["training"], recipe["condition"]["drop"]
    chain = auxar.build(out / "recipe.toml").chain.train()
    expected, steps = [], {}
    for factor in reversed(chain.all_factors):
        own = {**settings, **settings.get("factor", {}).get(factor.name, {})}
        lines, steps[factor.name] = trained(chain, factor, data, own, drop)
        expected += [{"factor": factor.name, **line} for line in lines]
        with safe_open(out / "factors" / factor.name / "weights.safetensors", "pt") as file:
            facts = file.metadata()
        assert (facts["step"], facts["trained_steps"]) == (str(steps[factor.name]), str(lines[-1]["step"]))
    assert name != "labels" or steps["condition"] < settings["steps"], "the best weights are not the last ones"
    found = {(line["factor"], line["step"], "validation_bits_per_dim" in line): line for line in metrics(out)}
    assert len(found) == len(expected)
    norms = [line["gradient_norm"] for line in expected if "gradient_norm" in line]
    assert min(norms) < settings["clip"] < max(norms)
    for line in expected:
        own = found[line["factor"], line["step"], "validation_bits_per_dim" in line]
        numbers = [key for key in line if key != "factor"]
        assert [own[key] for key in numbers] == pytest.approx([line[key] for key in numbers], rel=1e-3), line
    kept = weights(out)
    for factor in chain.all_factors:
        for key, tensor in factor.state_dict().items():
            assert torch.allclose(kept[f"{factor.name}/{key}"], tensor, rtol=1e-3, atol=3e-3), key
            # A single weight may differ more, because Adam divides a gradient near 0 by its own size.
            assert (kept[f"{factor.name}/{key}"] - tensor).norm() <= 1e-3 * tensor.norm() + 1e-4, key
