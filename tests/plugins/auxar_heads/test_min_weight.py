"""Tests that the option `min_weight` of a rule leaves out light components of mixtures, and nothing else."""

import attrs
import pytest
import torch
from helpers.causal_networks import SEEDS, generator, needs_native
from helpers.engines import fixed_support, pixels_by
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.model import Adjustments, DrawSource, ImageSpec
from auxar.numerics import categorical
from auxar.numerics.range_coder import TOTAL
from auxar_heads.logistic_mixture import LogisticMixtureHead

ENGINES = ["torch", pytest.param("native", marks=needs_native)]
COUNT = 500
COLORS = ImageSpec(3, height=COUNT, width=1)
# The centers of three narrow components, which have a share of e⁻⁵⁰ or less of each other's values.
CENTERS = torch.tensor([60, 130, 200])
WEIGHTS = torch.tensor([0.57, 0.02, 0.41], dtype=torch.float64)


def drawn(engine, rule, *, low=None, high=None, image=COLORS, weights=WEIGHTS, uniforms=None):
    """Draws pixels of narrow components at `CENTERS`, restricted if the ends of intervals are given: (COUNT, c)."""
    head = LogisticMixtureHead(image, len(weights))
    parameters = torch.zeros((COUNT, head.parameter_count), dtype=torch.float64)
    by_kind = parameters.view(COUNT, -1, len(weights))
    by_kind[:, 0] = weights.log()
    by_kind[:, 1 : 1 + image.channels] = CENTERS / 127.5 - 1
    by_kind[:, 1 + image.channels : 1 + 2 * image.channels] = -7
    walk = None
    if low is not None:
        ends = (torch.tensor(end).view(-1, 1, 1) for end in (low, high))
        walk = fixed_support(image, *ends).walk(torch.zeros(1, 1, 1, 1))
    count = head.uniform_count if walk is None else head.restricted_uniform_count
    if uniforms is None:
        uniforms = torch.rand((COUNT + 1, 1, count), generator=generator(0), dtype=torch.float64)
    source = DrawSource(head, image.levels, rule, uniforms, None, walk, restricted=walk is not None)
    return pixels_by(engine, source, torch.arange(COUNT), parameters).view(COUNT, image.channels)


def shares(pixels, channel=0):
    """The shares of pixels whose channel is near each of the centers."""
    near = (pixels[:, channel, None] - CENTERS).abs() < 8
    assert near.any(1).all()
    return near.double().mean(0).tolist()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "rule", [Adjustments(centers=True, min_weight=0.9), Adjustments(reduction=0.4, min_weight=0.9)], ids=str
)
def test_an_interval_that_only_a_light_component_explains_keeps_it(engine, rule):
    """The light component is also kept in later channels, because it explains the earlier ones."""
    found = drawn(engine, rule, low=(100, 0, 0), high=(160, 255, 255))
    for channel in range(3):
        assert shares(found, channel) == [0, 1, 0]
    between = drawn(engine, rule, low=(95, 90, 255), high=(96, 95, 255))
    assert between.amin(0).tolist() >= [95, 90, 255]
    assert between.amax(0).tolist() <= [96, 95, 255]


@settings(deadline=None, max_examples=60)
@given(components=st.integers(1, 12), min_weight=st.floats(0, 1, exclude_max=True), seed=SEEDS)
def test_draws_are_those_without_the_light_components(components, min_weight, seed):
    """Under every rule, light components are drawn as if their weights were 0, and others as before."""
    head = LogisticMixtureHead(ImageSpec(3, height=1, width=1), components)
    parameters = torch.randn((40, head.parameter_count), generator=generator(seed), dtype=torch.float64) * 2
    uniforms = torch.rand((40, head.uniform_count), generator=generator(seed + 1), dtype=torch.float64)
    weights = parameters[:, :components].softmax(1)
    without = parameters.clone()
    without[:, :components].masked_fill_(weights < min_weight * weights.amax(1, keepdim=True), -torch.inf)
    for changed in (Adjustments(centers=True), Adjustments(reduction=0.4)):
        found = head.draw(parameters, uniforms, attrs.evolve(changed, min_weight=min_weight))
        assert torch.equal(found, head.draw(without, uniforms, changed))


@pytest.mark.parametrize(
    "rule", [Adjustments(centers=True, min_weight=0.3), Adjustments(reduction=0.5, min_weight=0.3)]
)
def test_integers_leave_out_components_that_are_light_within_the_interval(rule):
    """In some intervals, the component that is heaviest without the interval is light, or the order is reversed."""
    head = LogisticMixtureHead(ImageSpec(1, height=1, width=1), 3)
    weights, means = torch.tensor([0.9, 0.04, 0.06], dtype=torch.float64), torch.tensor([60, 120, 130]).double()
    low, high = torch.tensor([[0, 255], [0, 90], [90, 126], [118, 124], [115, 150], [150, 255], [200, 220]]).t()
    parameters = torch.cat([weights.log(), means / 127.5 - 1, torch.full((3,), -3.0)]) * 2**20
    pixels = head.integer_head().frequencies(parameters.round().expand(len(low), -1), rule)
    ends = torch.arange(257).clamp(low[:, None], high[:, None] + 1)
    found = pixels.below(ends, low, high).double() / TOTAL

    scale = 127.5 * torch.tensor(-3.0 - rule.reduction, dtype=torch.float64).exp()

    def below(value):
        """The distribution functions of the components at the lower edge of values (n, m): (n, m, 3)."""
        edges = torch.where(value == 0, -torch.inf, torch.where(value == 256, torch.inf, value - 0.5))
        return ((edges[..., None] - means) / scale).sigmoid()

    first, last = below(low[:, None]), below(high[:, None] + 1)
    inside = weights * (last - first)[:, 0]
    kept = inside >= rule.min_weight * inside.amax(1, keepdim=True)
    assert len(set(map(tuple, kept.tolist()))) == 3
    if rule.centers:
        centers = means.clamp(low[:, None], high[:, None])
        expected = ((centers[:, None] < ends[..., None]) * (inside * kept)[:, None]).sum(2)
    else:
        expected = ((below(ends) - first) * (weights * kept)[:, None]).sum(2)
    assert torch.allclose(found, expected / (inside * kept).sum(1, keepdim=True), atol=2e-3)


def test_logits_of_any_size_are_compared():
    logits = torch.tensor([-1e300, 0.0, 1e5, 1e5 - 2.99, 1e5 - 3.0], dtype=torch.float64)
    assert categorical.without_light(logits, 0.0) is logits
    kept = categorical.without_light(logits, 0.05).isfinite()
    assert kept.tolist() == [False, False, True, True, False]
    assert torch.equal(
        categorical.without_light(logits[:3], 5e-324), torch.tensor([-torch.inf, -torch.inf, 1e5]).double()
    )
    assert categorical.without_light(logits[:1], 0.9).isfinite().all()
