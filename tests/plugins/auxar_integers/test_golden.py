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
        "integers": {"stage0": "c00531ed64fdad31", "prior": "dc32b0ce47fea1f2"},
        "frequencies": "b4360a5c053eccfe",
        "ancestral": "969029b3805f36fc",
        "reduced": "85e60ae1cb7d71ee",
        "map": "c5e9aeacd20386b9",
    },
    "grayscale": {
        "integers": {"stage0": "8ae3b165c110354f", "prior": "26c3831e79decfc4"},
        "frequencies": "a26c0b5709359227",
        "ancestral": "42454e5999873141",
        "reduced": "dee522aebeea6f5d",
        "map": "ff820daaa5938fe2",
    },
    "centered": {
        "integers": {"stage0": "c73dea458e3da14a", "stage1": "c9bf1d89b179ea93", "prior": "a44956c39ed806c8"},
        "frequencies": "a468d8e73dd3c919",
        "ancestral": "bff6ab80713e78a7",
        "reduced": "10be6668efce3068",
        "map": "111a294f8af422ac",
    },
    "neighbors": {
        "integers": {"stage0": "b678c113a81f80c2", "prior": "127bbee5c3e1629f"},
        "frequencies": "673a4160297014b9",
        "ancestral": "e8fbb8457aa29f01",
        "reduced": "6e3bd5a42bc3835f",
        "map": "7800365b0c4258fe",
    },
}
"""Digests of the integers of each factor, of the frequencies of images, and of samples by rule."""


@pytest.fixture(scope="module")
def run_of(made_once):
    """A function that returns the run of a model by name."""
    return lambda name: made_once(f"golden/{name}", lambda folder: make_golden_run(folder, name))


@pytest.fixture(scope="module", params=MODELS)
def golden(request, run_of):
    """The name of a model, the digests of its factors in integers, and the model in integers."""
    run = run_of(request.param)
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


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "neighbors" else pytest.mark.slow) for name in MODELS]
)
def test_frequencies_and_samples_are_the_same_with_every_instruction_set(run_of, name):
    model = auxar.load(run_of(name), arithmetic="integer")
    assert frequencies(model, golden_images(), 64) == GOLDEN[name]["frequencies"]
    for rule, options in RULES.items():
        assert digest_of(model.sample(SAMPLES, seed=5, **options).tensor) == GOLDEN[name][rule]


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
