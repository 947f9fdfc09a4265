"""Tests that noise is uniform, and independent for different seeds, images, depths, pixels and channels."""

import itertools

import numpy as np
import pytest
import torch
from helpers.chains import chain_of, grayscale, pyramid
from helpers.independence import assert_independent

from auxar.model import ImageSpec, Known, SampleRequest, Values
from auxar.testing.examples import randomized
from auxar_samplers import RasterSampler

IMAGE = ImageSpec(3, height=4, width=4)


def test_noise_of_other_seeds_numbers_and_depths_is_independent():
    """Keys whose parts would be equal if they were joined, added or exchanged are among them."""
    parts = (0, 1, 10, 11, 110)
    numbers = {
        (seed, number, depth): SampleRequest((number,), seed, depth=depth).uniforms((3000,))
        for seed, number, depth in itertools.product(parts, parts, (0, 1, 10, 11))
    }
    assert_independent(numbers)
    together = torch.cat([*numbers.values()]).numpy()
    assert 0 < together.min() < 1e-4
    assert 1 - 1e-4 < together.max() < 1
    assert np.abs(np.histogram(together, 20, (0, 1))[0] / together.size - 0.05).max() < 0.002


def test_noise_of_pixels_and_channels_is_independent():
    noise = SampleRequest(tuple(range(2000)), 3).uniforms((2, 3, 3)).flatten(1)
    assert_independent(dict(enumerate(noise.T)))


@pytest.mark.parametrize("how", ["whole", "from depth 1", "completed"])
def test_each_depth_is_drawn_with_noise_of_its_own(monkeypatch, how):
    """Every image and every depth has its own noise, in a chain of views of one size, and of another one."""
    chain = randomized(chain_of(IMAGE, grayscale(16), pyramid, restricted=True), 0).eval()
    requests: list[SampleRequest] = []
    noise: list[torch.Tensor] = []
    own = SampleRequest.uniforms

    def uniforms(request, shape, device="cpu"):
        requests.append(request)
        noise.append(own(request, shape, device))
        return noise[-1]

    monkeypatch.setattr(SampleRequest, "uniforms", uniforms)
    request = SampleRequest((4, 7), seed=5)
    if how == "completed":
        known = Known(torch.zeros(2, *IMAGE.shape, dtype=torch.int64), torch.zeros(2, 4, 4).bool())
        chain.draw(SampleRequest((4, 7), 5, known=known), RasterSampler())
    elif how == "whole":
        chain.draw(request, RasterSampler())
    else:
        view = torch.zeros(2, *chain.specs[1].shape, dtype=torch.int64)
        chain.draw(request, RasterSampler(), Values({"view1": view}))
    assert [each.depth for each in requests] == ([0] if how == "from depth 1" else [2, 1, 0])
    assert {(each.seed, each.numbers) for each in requests} == {(5, (4, 7))}
    shown = [image.flatten()[:8].tolist() for each in noise for image in each]
    assert len({tuple(values) for values in shown}) == 2 * len(requests)
