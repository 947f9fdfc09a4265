"""Tests of the evaluation of runs that combine features, against likelihoods that are computed image by image."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.evaluations import figures_of, nats_of
from helpers.matrix import at_once
from helpers.references import data_of, mean_and_error, nats, nats_one_by_one
from safetensors.torch import load_file

import auxar
from auxar.draw.loading import opened as opened_run
from auxar.evaluation.stored import read_evaluation
from auxar.files import read_metadata
from auxar.model import Chain, Factor


@pytest.fixture
def out(name, run_of):
    return run_of(name)


@pytest.fixture
def data(name, pictures_of):
    parts = data_of(name, pictures_of[name])
    spaced = np.linspace(0, len(parts["train"].images) - 1, 8).round().astype(int)
    return {"heldout": parts["heldout"], "training": parts["train"].of(spaced.tolist())}


def untouched(out: Path) -> Chain:
    """The model of a run, whose stored weights are loaded by PyTorch, with the limits of its files."""
    chain = auxar.build(out / "recipe.toml").chain.eval()
    for factor in chain.all_factors:
        path = out / "factors" / factor.name / "weights.safetensors"
        factor.load_state_dict(load_file(path))
        factor.limit(json.loads(read_metadata(path).get("limits", "{}")))
    return chain


def approximately(values: Any) -> Any:
    return pytest.approx(values, rel=1e-4, abs=1e-6)


def restricted(stage: Factor) -> Factor:
    """The stage with the same weights and a restricted decoder."""
    return Factor(
        stage.distribution, view=stage.view, embedding=stage.embedding, restricted=True, conditioning=stage.conditioning
    )


def test_figures_are_those_of_plain_calls(name, out, data):
    chain, found = untouched(out), figures_of(out)
    kind = None if chain.condition is None else chain.condition.kind
    assert {each["condition"] for each in found["factors"]} == {kind}
    dims, ln2 = chain.image.dims, math.log(2)
    totals = {}
    for images, pictures in data.items():
        by_factor = [nats_one_by_one(chain, factor, pictures) for factor in chain.factors]
        assert np.allclose(nats_of(out, images), by_factor, rtol=1e-5)
        assert found["images"][images] == len(pictures)
        own = np.sum(by_factor, 0) / (-ln2 * dims)
        totals[images] = mean_and_error(own)
        assert (found["bits_per_dim"][images], found["standard_error"][images]) == approximately(totals[images])
        wasted = (0.0, 0.0)
        for place, (factor, values) in enumerate(zip(chain.factors, by_factor, strict=True)):
            figures, per = found["factors"][place][images], -ln2 * factor.image.dims
            mean, error = mean_and_error(values)
            assert (figures["nats"], figures["nats_standard_error"]) == approximately((mean, error))
            assert (figures["bits_per_dim"], figures["standard_error"]) == approximately((mean / per, -error / per))
            both = (figures["bits_per_dim_of_image"], figures["standard_error_of_image"])
            assert both == approximately((mean / (-ln2 * dims), error / (ln2 * dims)))
            both = (figures["cumulative_bits_per_dim"], figures["cumulative_standard_error"])
            assert both == approximately(mean_and_error(np.sum(by_factor[place:], 0) / per))
            assert math.fsum(channel["nats"] for channel in figures["channels"]) == approximately(mean)
            if factor.view is not None and not factor.restricted:
                saved = nats_one_by_one(chain, restricted(factor), pictures) - values
                wasted = mean_and_error(saved / (ln2 * dims))
                both = (figures["wasted_bits_per_dim"], figures["wasted_standard_error"])
                assert both == approximately(mean_and_error(saved / -per))
                for key in ("wasted_bits_per_dim", "wasted_bits_per_dim_of_image"):
                    of_channels = [channel[key] for channel in figures["channels"]]
                    assert sum(of_channels) / (1 if key.endswith("image") else 3) == approximately(figures[key])
        both = (found["wasted_bits_per_dim"][images], found["wasted_standard_error"][images])
        assert both == approximately(wasted)
        null = np.sum([nats_one_by_one(chain, factor, pictures, null=True) for factor in chain.factors], 0)
        null = null / (-ln2 * dims)
        without = found["without_condition"][images]
        assert (without["bits_per_dim"], without["standard_error"]) == approximately(mean_and_error(null))
        assert (without["saved"], without["saved_error"]) == approximately(mean_and_error(null - own))
        if name == "labels":
            bits = nats_one_by_one(chain, chain.all_factors[-1], pictures) / -ln2
            figures = found["condition_figures"][images]
            assert (figures["bits"], figures["standard_error"]) == approximately(mean_and_error(bits))
    (heldout, error), (training, other) = totals["heldout"], totals["training"]
    both = (found["difference"]["bits_per_dim"], found["difference"]["standard_error"])
    assert both == approximately((heldout - training, math.hypot(error, other)))
    assert bool(found["condition_figures"]) == (name == "labels")
    hashes = b"".join(hashlib.sha256(image.numpy().tobytes()).digest() for image in data["heldout"].images)
    assert found["data"]["heldout_digest"] == hashlib.sha256(hashes).hexdigest()
    assert [factor["factor"] for factor in found["factors"]] == [factor.name for factor in chain.factors]
    assert found["data"]["heldout_fingerprint"] != found["data"]["fingerprint"]


def test_the_cost_of_integers_is_that_of_plain_calls(out, data):
    floats, integers = untouched(out), auxar.load(out).chain
    assert integers.arithmetic == "integer"
    stored, expected = (read_evaluation(out / f"{name}.safetensors") for name in ("evaluation-integer", "evaluation"))
    for images, pictures in data.items():
        both = [
            np.sum([nats_one_by_one(chain, factor, pictures) for factor in chain.factors], 0)
            for chain in (floats, integers)
        ]
        per = math.log(2) * floats.image.dims
        assert stored.bits_per_dim(images).value == pytest.approx(-both[1].mean() / per, rel=1e-9)
        cost = stored.cost(expected, images)
        assert (cost.value, cost.error) == pytest.approx(mean_and_error((both[0] - both[1]) / per), rel=1e-2, abs=1e-6)


def test_likelihoods_of_models_are_those_of_plain_calls(out, data):
    chain, pictures = untouched(out), data["heldout"]
    expected = [nats_one_by_one(chain, factor, pictures) for factor in chain.factors]
    opened = opened_run(out, arithmetic="float", trust_plugins=False).model.chain
    model = auxar.load(out, arithmetic="float")
    for loaded in (opened, model.chain, auxar.load(out).chain):
        assert not any(part.training for part in loaded.modules())
    for factor, values in zip(opened.factors, expected, strict=True):
        # Dropout would change the values of a model that is not in evaluation mode.
        with torch.no_grad():
            found = nats(opened, factor, pictures.images, pictures.conditions)
        assert np.allclose(found, values, rtol=1e-5)
    for chunk in (1, 4):
        with at_once(chunk):
            given = model.log_probs(pictures.images, condition=pictures.conditions)
            assert [np.allclose(own.log_prob, values, rtol=1e-5) for own, values in zip(given, expected, strict=True)]
            pixels = model.pixel_bits(pictures.images, condition=pictures.conditions)
            assert np.allclose(pixels.sum((1, 2)) * -math.log(2), np.sum(expected, 0), rtol=1e-5)
    null = np.sum([nats_one_by_one(chain, factor, pictures, null=True) for factor in chain.factors], 0)
    assert np.allclose(model.log_prob(pictures.images, condition=[None], batch_size=4), null, rtol=1e-5)
    assert np.allclose(model.pixel_bits(pictures.images, condition=[None]).sum((1, 2)) * -math.log(2), null, rtol=1e-5)
    mixed = pictures.conditions.clone()
    mixed[::2] = -1
    either = np.where(np.arange(len(mixed)) % 2, np.sum(expected, 0), null)
    assert np.allclose(model.log_prob(pictures.images, condition=mixed, batch_size=4), either, rtol=1e-5)
