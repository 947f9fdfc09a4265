"""Tests of heads with integer frequencies: normalization, restriction, agreement with the heads in floating point."""

from typing import Any

import pytest
import torch
from helpers.causal_networks import SEEDS, generator
from helpers.integer_heads import EXACT, RULES, heads, parameters_of
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.model import Adjustments, ImageSpec, Interval
from auxar.numerics.range_coder import TOTAL
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead


def intervals(head, count, seed):
    ends = torch.randint(head.levels, (count, 2), generator=generator(seed)).sort(dim=1).values
    return ends[:, 0], ends[:, 1]


@settings(deadline=None, max_examples=20)
@given(head=heads(), rule=RULES, seed=SEEDS, spread=st.sampled_from([0.3, 2.0, 8.0]), whole=st.booleans())
def test_frequencies_of_an_interval_add_up_to_the_total(head, rule, seed, spread, whole):
    count = 20
    pixels = head.integer_head().frequencies(parameters_of(head, count, seed, spread), rule)
    noise = generator(seed + 1)
    for channel in range(head.channels):
        low, high = intervals(head, count, seed + channel)
        if whole:
            low, high = torch.zeros_like(low), torch.full_like(high, head.levels - 1)
        inside = torch.rand((count, 60), generator=noise)
        value = (low[:, None] + (inside * (high - low + 2)[:, None]).long()).sort(dim=1).values
        value = torch.cat([low[:, None], value, high[:, None] + 1], dim=1)
        below = pixels.below(value, low, high)
        assert bool((below[:, 0] == 0).all())
        assert bool((below[:, -1] == TOTAL).all())
        least = value.diff(dim=1) if rule == EXACT else 0
        assert bool((below.diff(dim=1) >= least).all())
        pixels.take(low + (torch.rand(count, generator=noise) * (high - low + 1)).long())


@settings(deadline=None, max_examples=12)
@given(head=heads(levels=(2, 16, 256)), seed=SEEDS, restricted=st.booleans())
def test_likelihoods_are_near_those_in_floating_point(head, seed, restricted):
    count = 50
    # Scales of more than e⁶ are replaced by a smaller one, which changes probabilities at the ends of the range.
    parameters = parameters_of(head, count, seed, 1.0).clamp(-5 * 2**20, 5 * 2**20)
    grid = parameters.t().reshape(1, -1, count, 1)
    floats = grid / 2.0**20
    uniforms = torch.rand((count, head.uniform_count), generator=generator(seed), dtype=torch.float64)
    image = head.draw(parameters / 2.0**20, uniforms, EXACT).t().reshape(1, -1, count, 1)
    own = head.integer_head()
    if restricted:
        low, high = intervals(head, image.numel(), seed)
        interval = Interval(torch.minimum(low.view_as(image), image), torch.maximum(high.view_as(image), image))
        found = own.restricted_log_prob(grid, image, interval)
        expected = head.restricted_log_prob(floats, image, interval)
    else:
        found, expected = own.channel_log_prob(grid, image), head.channel_log_prob(floats, image)
    # Frequencies are multiples of 1 / TOTAL, so rare values have a larger error.
    error = 1e-3 + 2 * head.levels / TOTAL * torch.exp(-expected)
    assert bool(((found - expected).abs() <= error).all())


@pytest.mark.parametrize("temperature", [1e-6, 1e15])
def test_temperatures_of_any_size_draw_the_most_probable_value_or_all_alike(temperature):
    head = SoftmaxHead(ImageSpec(1, height=1, width=1, levels=4))
    parameters = parameters_of(head, 200, 0, 20.0).clamp(-(2**29), 2**29)
    uniforms = torch.linspace(0.02, 0.98, 200).double()[:, None]
    expected = parameters.argmax(1, keepdim=True) if temperature < 1 else (4 * uniforms).long()
    for own in (head, head.integer_head()):
        assert torch.equal(own.draw(parameters, uniforms, Adjustments(temperature=temperature)), expected)


@pytest.mark.parametrize("reduction", [600.0, 6e3, 1e300])
def test_large_reductions_draw_the_center(reduction):
    head = LogisticMixtureHead(ImageSpec(1, height=1, width=1, levels=256), 1)
    parameters = torch.zeros((20, 3))  # The center is 127.5.
    uniforms = torch.linspace(0.01, 0.99, 20).double()[:, None]
    drawn = head.integer_head().draw(parameters, uniforms, Adjustments(reduction=reduction))
    assert set(drawn.flatten().tolist()) <= {127, 128}


def test_more_than_65536_levels_have_no_integers():
    image = ImageSpec(1, height=1, width=1, levels=2**16 + 1)
    assert LogisticMixtureHead(image, 1).integer_head() is None
    assert SoftmaxHead(image).integer_head() is None


def test_frequencies_outside_of_the_interval_are_zero():
    image = ImageSpec(1, height=1, width=1, levels=16)
    for head in (LogisticMixtureHead(image, 2), SoftmaxHead(image)):
        own = head.integer_head()
        grid = parameters_of(head, 1, 0, 1.0).view(1, -1, 1, 1).expand(1, -1, 16, 1)
        values = torch.arange(16).view(1, 1, 16, 1)
        interval = Interval(torch.full_like(values, 3), torch.full_like(values, 9))
        found = own.restricted_log_prob(grid, values, interval).flatten()
        assert found.isfinite().tolist() == [3 <= value <= 9 for value in range(16)]
        inside = own.channel_log_mass(grid[:, :, :1], values[:, :, :1], Interval(values[:, :, 3:4], values[:, :, 9:10]))
        each = own.channel_log_prob(grid, values).flatten()
        assert torch.allclose(inside.exp(), each[3:10].exp().sum())


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("name", ["reduction", "centers", "temperature", "min_weight"])
def test_integers_understand_the_adjustments_that_they_declare(components, name):
    head = LogisticMixtureHead(ImageSpec(3, height=1, width=1, levels=65536), components).integer_head()
    parameters = (torch.randn((2000, head.parameter_count), generator=generator(1)) * 2**20).round()
    uniforms = torch.rand((2000, head.uniform_count), generator=generator(2), dtype=torch.float64)
    changed: Any = {name: True if name == "centers" else 0.5}
    adjustments = Adjustments(**changed)
    exact, found = (head.draw(parameters, uniforms, each) for each in (Adjustments(), adjustments))
    assert torch.equal(exact, found) == (name not in head.understands)
