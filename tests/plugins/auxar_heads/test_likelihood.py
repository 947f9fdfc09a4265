"""Tests of the functions of logistic distributions and categories, of their gradients, and of noise."""

import decimal
import itertools
import math
from decimal import Decimal

import pytest
import torch
from helpers.causal_networks import generator
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.model import ImageSpec, SampleRequest
from auxar.numerics import categorical, logistic
from auxar_heads.logistic_mixture import SMALLEST_LOG_SCALE, LogisticMixtureHead
from auxar_pixelcnn import components

LEVELS = st.one_of(st.sampled_from([2, 3, 16, 256]), st.integers(2, 256))
MEANS = st.one_of(st.floats(-1.2, 1.2), st.floats(-100, 100))
LOG_SCALES = st.floats(-20, 30)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def nearest_value(point, levels):
    """Returns the value nearest to a point, where -1 is the first value and 1 the last."""
    return logistic.nearest_value(logistic.position(point, levels), levels)


def draw_logistic(uniform, mean, log_scale, levels):
    """Draws a point from a logistic distribution, and returns the nearest value."""
    return nearest_value(logistic.draw(uniform, double(mean), double(log_scale)), levels).long()


def rounding(mean, log_scale):
    """Returns a bound on the float64 error of a log-probability: the rounding error of a boundary, over the scale."""
    return 1e-12 + 1e-15 * (2 + abs(mean)) * math.exp(-log_scale)


def slow_log_interval_mass(low, high, mean, log_scale, levels):
    """Computes the log of the logistic mass of the values low … high with 80 digits and exponents of any size."""
    with decimal.localcontext(decimal.Context(prec=80, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)):
        step = 2 / Decimal(levels - 1)
        inverse_scale = (-Decimal(log_scale)).exp()
        upper = ((high + Decimal("0.5")) * step - 1 - Decimal(mean)) * inverse_scale
        lower = ((low - Decimal("0.5")) * step - 1 - Decimal(mean)) * inverse_scale
        if low == 0 and high == levels - 1:
            return 0.0
        if low == 0:
            return float(-(1 + (-upper).exp()).ln())
        if high == levels - 1:
            return float(-(1 + lower.exp()).ln())
        if upper + lower > 0:
            # Mirror the interval to the left, where the cumulative distribution is small and loses no digits.
            upper, lower = -lower, -upper
        return float((1 / (1 + (-upper).exp()) - 1 / (1 + (-lower).exp())).ln())


@st.composite
def intervals(draw):
    levels = draw(LEVELS)
    low, high = sorted(draw(st.tuples(st.integers(0, levels - 1), st.integers(0, levels - 1))))
    return low, high, draw(MEANS), draw(LOG_SCALES), levels


@settings(deadline=None, max_examples=300)
@given(interval=intervals())
def test_the_mass_of_an_interval_is_what_eighty_digits_give(interval):
    low, high, mean, log_scale, levels = interval
    found = logistic.log_interval_mass(torch.tensor(low), torch.tensor(high), double(mean), double(log_scale), levels)
    expected = slow_log_interval_mass(*interval)
    assert found.item() == pytest.approx(expected, rel=1e-12, abs=rounding(mean, log_scale))


@settings(deadline=None, max_examples=60)
@given(levels=LEVELS, point=st.integers(-300, 600))
def test_the_nearest_value_is_rounded_half_up_and_stays_in_range(levels, point):
    """The points are multiples of half a step between values. With 2^k + 1 levels, floats represent them exactly."""
    levels = 2 ** (levels.bit_length() - 1) + 1
    for dtype in (torch.float32, torch.float64):
        points = torch.tensor([point / (levels - 1) - 1], dtype=dtype)
        before = points.clone()
        found = nearest_value(points, levels)
        assert found.dtype == dtype
        assert found.item() == min(max((point + 1) // 2, 0), levels - 1)
        assert torch.equal(points, before)


@settings(deadline=None, max_examples=60)
@given(logits=st.lists(st.sampled_from([-1e5, -3.0, 0.0, 0.1, 2.0]), min_size=2, max_size=9))
def test_a_category_without_mass_is_never_drawn(logits):
    uniforms = double(2.0**-53, 0.25, 0.5, 0.75, 1 - 2.0**-53)
    drawn = categorical.draw(uniforms, double(*logits).expand(5, -1))
    assert (double(*logits).softmax(0)[drawn] > 0).all()


@pytest.mark.parametrize("tail", [1e-4, 1e-8, 1e-12])
def test_no_tail_is_cut_off(tail):
    """Rare values are drawn with their exact probability, even if it is tiny."""
    uniforms = double(0.9 * tail, 1.1 * tail, 0.5, 1 - 1.1 * tail, 1 - 0.9 * tail)
    logits = double(tail, 1 - 2 * tail, tail).log()
    assert categorical.draw(uniforms, logits.expand(5, -1)).tolist() == [0, 1, 1, 1, 2]
    # The outer ones of the values -1, 0 and 1 cover |x| > 1/2. With this scale, each has the probability `tail`.
    log_scale = math.log(0.5 / math.log((1 - tail) / tail))
    assert draw_logistic(uniforms, 0, log_scale, 3).tolist() == [0, 1, 1, 1, 2]


# Heads ---------------------------------------------------------------------------------------------------------------


def test_a_scale_below_the_floor_is_the_floor():
    head, image = LogisticMixtureHead(ImageSpec(1, height=1, width=1), 1), torch.arange(256).view(256, 1, 1, 1)
    below, floor = (
        double(0, 0.3, scale).view(1, 3, 1, 1).expand(256, -1, -1, -1) for scale in (-1e6, SMALLEST_LOG_SCALE)
    )
    assert torch.equal(head.log_prob(below, image), head.log_prob(floor, image))


@pytest.mark.parametrize("channels", [2, 4])
def test_a_mixture_needs_one_or_three_channels(channels):
    with pytest.raises(UserError, match=f"1 or 3 channels.*1×1×{channels}"):
        LogisticMixtureHead(ImageSpec(channels, height=1, width=1), 1)
    with pytest.raises(UserError, match=r"^head 'logistic_mixture': needs an image of 1 or 3 channels"):
        components.light(components.LightConfig(), ImageSpec(channels, height=2, width=2))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(), numbers=st.lists(st.integers(0, 10**9), min_size=1, max_size=4), depth=st.integers(0, 5))
def test_noise_depends_on_seed_number_and_depth_alone(seed, numbers, depth):
    request = SampleRequest(tuple(numbers), seed, depth=depth)
    found = request.uniforms((2, 3))
    assert found.shape == (len(numbers), 2, 3)
    assert found.dtype == torch.float64
    assert (found > 0).all()
    assert (found < 1).all()
    for number, row in zip(numbers, found, strict=True):
        assert torch.equal(row, SampleRequest((number,), seed, depth=depth).uniforms((2, 3))[0])
    for (first, one), (second, other) in itertools.combinations(zip(numbers, found, strict=True), 2):
        assert torch.equal(one, other) == (first == second)
    assert not torch.equal(found, request.deeper().uniforms((2, 3)))
    assert not torch.equal(found, SampleRequest(tuple(numbers), seed + 1, depth=depth).uniforms((2, 3)))


def test_noise_is_the_same_in_every_version():
    expected = [[0.03994455272760311, 0.2997385115718251, 0.24759192724416212]]
    assert SampleRequest((2,), 1, depth=3).uniforms((3,)).tolist() == expected


@pytest.mark.parametrize("levels", [2, 3, 256])
@pytest.mark.parametrize("log_scale", [-7.0, -2.0, 1.0, 20.0])
def test_the_gradient_of_the_log_mass_of_an_interval_is_its_derivative(levels, log_scale):
    values = torch.arange(levels)[:: max(1, levels // 5)]
    low, high = torch.cartesian_prod(values, torch.cat([values, values.new_tensor([levels - 1])])).unbind(1)
    low, high = low[low <= high], high[low <= high]
    mean = torch.linspace(-3, 3, len(low), dtype=torch.float64).requires_grad_()
    width = torch.full((1,), log_scale, dtype=torch.float64).requires_grad_()

    def log_mass(mean, width):
        return logistic.log_interval_mass(low, high, mean, width, levels)

    torch.autograd.gradcheck(log_mass, (mean, width), eps=1e-6, atol=1e-6, rtol=1e-4)
    if log_scale < 20:  # Wider distributions are flat up to rounding.
        torch.autograd.gradgradcheck(log_mass, (mean, width), eps=1e-6, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("far", [-1e30, -1e4, -1.0, 0.1, 1e4, 1e30])
@pytest.mark.parametrize("log_scale", [-7.0, -3.0, 20.0])
def test_gradients_of_the_log_mass_in_float32_are_those_in_float64(far, log_scale):
    low, high = torch.tensor([0, 0, 100, 100, 255]), torch.tensor([0, 100, 100, 255, 255])
    gradients = []
    for dtype in (torch.float64, torch.float32):
        given = [torch.full((5,), number, dtype=dtype).requires_grad_() for number in (far, log_scale)]
        nats = logistic.log_interval_mass(low, high, given[0], given[1], 256)
        gradients.append([each.double() for each in torch.autograd.grad(nats.sum(), given)])
    for exact, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-5)


def test_the_log_mass_is_the_same_without_gradients_compiled_and_under_transformations():
    mean, log_scale = torch.randn(2, 40, generator=generator(0)).unbind(0)
    low, high = torch.randint(256, (2, 40), generator=generator(1)).sort(0).values

    def nats(mean, log_scale):
        return logistic.log_interval_mass(low, high, mean, log_scale, 256).sum()

    given = [mean.clone().requires_grad_(), log_scale.clone().requires_grad_()]
    value = nats(*given)
    gradients = torch.autograd.grad(value, given)
    assert torch.equal(nats(mean, log_scale), value.detach())
    compiled = torch.compile(nats, fullgraph=True, backend="aot_eager")(*given)
    for found in (torch.autograd.grad(compiled, given), torch.func.grad(nats, (0, 1))(mean, log_scale)):
        torch.testing.assert_close(found, gradients)
    single = torch.func.vmap(lambda a, b: logistic.log_mass(torch.tensor(3), a, b, 256))(mean, log_scale)
    torch.testing.assert_close(single, logistic.log_mass(torch.tensor(3), mean, log_scale, 256))
    double = logistic.log_mass(low, mean.requires_grad_(), log_scale.double(), 256)
    assert double.dtype == torch.float64
