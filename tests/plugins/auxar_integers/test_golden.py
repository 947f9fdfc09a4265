"""Digests of the converted factors, frequencies and samples of four models, which every later version must reproduce.

Digests of frequencies and samples are the same for every machine, compiler, number of threads, batch size, sampler and
engine. Those of converted factors are the same on all machines on which this was tried.
`tests/benchmarks/same_bits.py` runs these tests with libraries for other processors.
"""

from typing import Any

import pytest
import torch
from helpers.causal_networks import SAMPLERS
from helpers.golden_models import MODELS, digest_of, frequencies, golden_images, make_golden_run

import auxar
from auxar.files import read_json
from auxar.numerics.threads import threads

SAMPLES = 64
RULES: dict[str, dict[str, Any]] = {
    "ancestral": {"rule": "ancestral"},
    "reduced": {"rule": "reduced:reduction=0.5,min_weight=0.1"},
    "map": {"rule": "map:min_weight=0.05"},
}
GOLDEN = {
    "pyramid": {
        "integers": {"stage0": "f1691efb0a131f12", "prior": "48c2dbde335bf478"},
        "frequencies": "8ceb6ecfc4167924",
        "ancestral": "f58ce9d08bfac8e1",
        "reduced": "2dd94968bd7d3c94",
        "map": "baf36a22eb238859",
    },
    "grayscale": {
        "integers": {"stage0": "1c811d9b1fd5a24d", "prior": "f086bc4409167289"},
        "frequencies": "26236d856f1ef7ea",
        "ancestral": "11075039c23b9861",
        "reduced": "675c52869dcae993",
        "map": "2d96c2e5350f552d",
    },
    "centered": {
        "integers": {"stage0": "e9c01b100ea70729", "stage1": "597b88ecb179a26d", "prior": "cdf18d140bb2fd48"},
        "frequencies": "ee6d4408964a28c0",
        "ancestral": "ba626815a841fe5e",
        "reduced": "17e059f4897063b9",
        "map": "09949a1dd2601377",
    },
    "neighbors": {
        "integers": {"stage0": "bc8fa99554cd769e", "prior": "f14a0b91efb22de9"},
        "frequencies": "95f23ab7b6c27d72",
        "ancestral": "b72d8de9ac90362f",
        "reduced": "55c788aeaf92edc2",
        "map": "e5e9d159a2d5b126",
    },
}
"""Digests of the integers of each factor, of the frequencies of images, and of samples by rule."""


@pytest.fixture(scope="module", params=MODELS)
def golden(request, made_once):
    """The name of a model, the digests of its factors in integers, and the model in integers."""
    run = made_once(f"golden/{request.param}", lambda folder: make_golden_run(folder, request.param))
    digests = {name: factor["digest"] for name, factor in read_json(run / "integer.json")["factors"].items()}
    return request.param, digests, auxar.load(run, arithmetic="integer")


def test_a_model_is_converted_to_the_same_integers(golden):
    name, digests, _ = golden
    assert {factor: digest[:16] for factor, digest in digests.items()} == GOLDEN[name]["integers"]


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_frequencies_are_the_same(golden, batch):
    name, _, model = golden
    assert frequencies(model, golden_images(), batch) == GOLDEN[name]["frequencies"]


@pytest.mark.parametrize("rule", RULES)
def test_samples_are_the_same(golden, rule):
    name, _, model = golden
    assert digest_of(model.sample(SAMPLES, seed=5, **RULES[rule]).tensor) == GOLDEN[name][rule]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("batch", "count"), [(1, 2), (7, 8), (64, SAMPLES)])
def test_every_execution_draws_the_same_samples(golden, sampler, batch, count):
    name, _, model = golden
    if name == "grayscale" and "wavefront" in sampler:
        pytest.skip("the wavefront sampler does not support networks with several resolutions")
    for rule, options in RULES.items():
        expected = model.sample(SAMPLES, seed=5, **options).tensor
        assert digest_of(expected) == GOLDEN[name][rule]
        # PyTorch takes long, so the other rules are drawn with one number of threads.
        for each in (1, 2, 4) if rule == "ancestral" or "native" in sampler else (2,):
            with threads(each):
                found = model.sample(count, seed=5, sampler=SAMPLERS[sampler], batch_size=batch, **options).tensor
            assert torch.equal(found, expected[:count]), (rule, each)
