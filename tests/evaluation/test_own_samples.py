"""Tests that the bits/dim of samples are the entropies of a model, which are known for tiny images."""

import math

import numpy as np
import pytest
import torch
from helpers.bounds import conditional_table, joint_table
from helpers.causal_networks import SEEDS, generator, random_images, randomized
from helpers.chains import chain_of, pyramid
from helpers.evaluations import figures_of
from helpers.listed_images import Listed
from helpers.tiny_runs import run, tiny
from helpers.values import values_of, views_of
from hypothesis import given
from hypothesis import strategies as st

from auxar.commands.evaluate import evaluate
from auxar.data.batches import evaluation_examples
from auxar.evaluation.figures import Mean
from auxar.evaluation.image_nats import INDICES, joined, share_of_samples
from auxar.evaluation.stored import read_evaluation
from auxar.model import ImageSpec, SampleRequest
from auxar.numerics.energy import energies, fallen
from auxar.report.text import evaluation_lines
from auxar.testing.examples import all_images
from auxar_samplers import AutoSampler

IMAGE = ImageSpec(1, height=2, width=2, levels=3)
COUNT = 3000


def entropies(model):
    """The entropy of p(X | view) for each view, and the probability of each view, in bits/dim."""
    stage, prior = model.factors
    with torch.no_grad():
        nats, of_views = conditional_table(stage), prior(values_of(prior, all_images(prior.image)))
    bits = -(nats.exp() * nats.where(nats.isfinite(), 0.0)).sum(0) / (math.log(2) * IMAGE.dims)
    return bits, of_views.exp()


@pytest.mark.parametrize(("restricted", "seed"), [(False, 4), (True, 6)])
def test_bits_of_samples_are_entropies(restricted, seed, monkeypatch):
    numbers = []

    def noted(own, *options, **others):
        numbers.extend(own)
        return SampleRequest(own, *options, **others)

    monkeypatch.setattr("auxar.evaluation.image_nats.SampleRequest", noted)
    model = randomized(chain_of(IMAGE, pyramid, restricted=restricted), seed)
    model.sampler = AutoSampler()
    pixels = torch.randint(3, (COUNT, *IMAGE.shape), generator=generator(1)) // 2
    # Two processes share the images.
    batches = [evaluation_examples(Listed(IMAGE, pixels), batch_size=500, rank=rank, processes=2) for rank in (0, 1)]
    found = joined([share_of_samples(model, each, torch.device("cpu"), seed=0) for each in batches])
    assert torch.equal(found.pop(INDICES), torch.arange(COUNT))
    assert sorted(numbers) == [*range(COUNT), *range(2**32, 2**32 + COUNT)], "each sample has noise of its own"
    bits, probabilities = entropies(model)
    heldout = views_of(model, pixels)[1].flatten().bincount(minlength=3) / COUNT
    expected = {"in_chain": (bits * probabilities).sum().item(), "given_heldout_views": (bits * heldout).sum().item()}
    # A mistake of views or images would be seen: the two kinds differ by many standard errors.
    assert abs(expected["in_chain"] - expected["given_heldout_views"]) > 0.1
    assert {key: nats.shape for key, nats in found.items() if "energy" not in key} == dict.fromkeys(
        ("stage0.in_chain", "stage0.given_heldout_views", "prior.in_chain", "stage0.pixels", "prior.pixels"), (COUNT, 1)
    )
    assert {key: energy.shape for key, energy in found.items() if "energy" in key} == dict.fromkeys(
        (
            *("stage0.in_chain_energy", "stage0.given_heldout_views_energy", "stage0.heldout_energy"),
            *("prior.in_chain_energy", "prior.heldout_energy"),
        ),
        (COUNT, 2),
    )
    assert torch.equal(found["stage0.heldout_energy"], energies(pixels))
    # The energies are those of the samples that are measured: their mean is that of all images.
    of_images = energies(all_images(IMAGE))[:, 0]
    assert_mean(found["stage0.in_chain_energy"], (of_images * probabilities_of_images(model)).sum().item())
    measured = {key: Mean.of(nats[:, 0] / -math.log(2)) for key, nats in found.items()}
    for kind, value in expected.items():
        mean = measured[f"stage0.{kind}"]
        assert 0 < mean.error / IMAGE.dims < 0.01
        assert abs(mean.value / IMAGE.dims - value) < 4 * mean.error / IMAGE.dims
    entropy = -(probabilities * probabilities.log2()).sum().item()
    mean = measured["prior.in_chain"]
    assert abs(mean.value - entropy) < 4 * mean.error


def probabilities_of_images(model):
    """The probability of each image in samples of the chain."""
    with torch.no_grad():
        return joint_table(model).exp().sum(1)


def assert_mean(values, expected):
    mean = Mean.of(values[:, 0])
    assert mean.value is not None
    assert mean.error is not None
    assert abs(mean.value - expected) < 4 * mean.error


@given(height=st.integers(1, 19), width=st.integers(1, 19), channels=st.integers(1, 3), seed=SEEDS)
def test_energies_are_those_of_the_region_with_most(height, width, channels, seed):
    images = random_images(2, ImageSpec(channels, height=height, width=width), seed)

    def energy(region):
        blocks = abs(region[:, :-1, :-1] - region[:, :-1, 1:] - region[:, 1:, :-1] + region[:, 1:, 1:])
        return blocks.mean() / 2 if blocks.size else 0.0

    def halved(region):
        even = region[:, : region.shape[1] // 2 * 2, : region.shape[2] // 2 * 2]
        return (even[:, ::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, ::2] + even[:, 1::2, 1::2]) / 4

    expected = []
    for image in images.numpy().astype(float):
        regions = [
            image[:, top : top + 16, left : left + 16]
            for top in range(0, max(1, height - 15), 2)
            for left in range(0, max(1, width - 15), 2)
        ]
        largest = max(energy(region) for region in regions)
        expected.append([largest, max(energy(region) - energy(halved(region)) for region in regions)])
    assert energies(images).numpy() == pytest.approx(np.array(expected))


def noise(size, scale):
    """Noise of `scale`×`scale` pixels with values that are saturated."""
    values = 255 * torch.randint(2, (1, 3, size // scale, size // scale), generator=torch.Generator().manual_seed(0))
    return values.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_images_fall_apart_by_noise_and_checkerboards(size):
    rows = torch.arange(size)
    edges = 4 * (rows[:, None] * torch.tensor([1, 2, 3, 5])[:, None, None] // size % 8 + rows // 4 % 3)
    real = edges[:, None].expand(4, 3, size, size)
    checkerboard = real[:1] + 12 * ((rows[:, None] + rows) % 2)
    samples = torch.cat([real.flip(2), checkerboard, noise(size, 1), noise(size, 2)])
    assert fallen(energies(samples), energies(real)).tolist() == [False] * 4 + [True] * 3


def test_an_evaluation_has_them_if_the_recipe_asks_for_them(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures))
    without = read_evaluation(folder / "evaluation.safetensors")
    assert without.sample_count == 0
    assert all(factor["samples"] is None for factor in figures_of(folder)["factors"])
    evaluate(folder, samples=4)
    found = read_evaluation(folder / "evaluation.safetensors")
    samples = [factor["samples"] for factor in figures_of(folder)["factors"]]
    assert [each["count"] for each in samples] == [found.sample_count] * 2 == [4, 4]
    assert samples[0]["in_chain"] == found.samples("stage0", "in_chain").value > 0
    assert samples[0]["given_heldout_views"] == found.samples("stage0", "given_heldout_views").value > 0
    assert samples[1]["given_heldout_views"] is None
    assert samples[1]["given_heldout_views_fallen"] is None
    assert 0 <= samples[0]["in_chain_fallen"] <= 4
    lines = evaluation_lines(found)
    assert any(line.startswith("Samples under the model: ") for line in lines)
    assert "Samples under the model" in (folder / "report.html").read_text()
    run(folder, tiny(pictures, evaluation__samples=4, sampling__seed=1))
    other = read_evaluation(folder / "evaluation.safetensors")
    assert other.bits_per_dim() == found.bits_per_dim()
    assert other.samples("stage0", "in_chain") != found.samples("stage0", "in_chain")
    evaluate(folder, settings=["evaluation.samples=4", "evaluation.heldout_images=3"])
    assert read_evaluation(folder / "evaluation.safetensors").sample_count == 3


def test_samples_need_all_factors(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures, evaluation__samples=4), only=["prior"])
    found = read_evaluation(folder / "evaluation.safetensors")
    assert (found.images["heldout"], found.sample_count) == (6, 0)
