"""Tests that layers and functions of the networks are as documented."""

import functools
import itertools
import math

import pytest
import torch
from helpers.causal_networks import SEEDS, SIZES, generator, randomized
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import elu

from auxar_layers.convolutions import SMALLEST_DEVIATION, CausalConv2d, Conv2d, Pointwise, data_dependent_initialization
from auxar_layers.functional import concat_elu, dropout


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


# Layers --------------------------------------------------------------------------------------------------------------


@st.composite
def causal_convolutions(draw, strides=(1, 2)):
    above = sorted(draw(st.tuples(st.integers(0, 3), st.integers(0, 3))))
    columns = sorted(draw(st.tuples(st.integers(-3, 3), st.integers(-3, 3))))
    layer = CausalConv2d(2, 3, tuple(above), tuple(columns), stride=draw(st.sampled_from(strides)))
    return randomized(layer, draw(SEEDS))


@settings(deadline=None, max_examples=80)
@given(layer=causal_convolutions(), size=SIZES, data=st.data())
def test_a_causal_convolution_reads_exactly_its_rows_above_and_its_columns(layer, size, data):
    """Inputs outside the image are zero. The bias is added except where all inputs lie outside above or to the left."""
    height, width = size
    x = normal(1, 2, height, width).requires_grad_()
    y = layer(x)
    stride = layer.stride
    assert y.shape == (1, 3, math.ceil(height / stride), math.ceil(width / stride))
    row = data.draw(st.integers(0, y.shape[2] - 1))
    column = data.draw(st.integers(0, y.shape[3] - 1))
    channel = data.draw(st.integers(0, 2))
    y[0, channel, row, column].backward()
    expected = torch.zeros_like(x)
    weight = layer.weight()[channel].flatten(1)
    outside = row * stride < layer.above[0] or column * stride + layer.columns[1] < 0
    rows, columns = range(layer.above[1], layer.above[0] - 1, -1), range(layer.columns[0], layer.columns[1] + 1)
    for tap, (up, right) in enumerate(itertools.product(rows, columns)):
        r, c = row * stride - up, column * stride + right
        if 0 <= r < height and 0 <= c < width:
            expected[0, :, r, c] = weight[:, tap]
    assert torch.equal(x.grad, expected)
    bias = 0.0 if outside else layer.bias[channel].item()
    assert y[0, channel, row, column].item() == pytest.approx((x * expected).sum().item() + bias, abs=1e-12)


@pytest.mark.parametrize(("groups", "normalized"), [(2, True), (6, False)])
@pytest.mark.parametrize("kind", [Conv2d, functools.partial(CausalConv2d, above=(0, 1), columns=(-1, 1), last=0)])
def test_groups_read_only_their_own_inputs(kind, groups, normalized):
    """Compares values and gradients with a layer without groups that has the same weight, with zeros."""
    layer = randomized(kind(6, 12, groups=groups, normalized=normalized), 0)
    dense = kind(6, 12, normalized=False).double()
    dense.kernel.data, dense.bias.data = layer.weight().detach().clone(), layer.bias.detach().clone()
    apart = torch.arange(12)[:, None] * groups // 12 != torch.arange(6) * groups // 6
    assert not layer.weight()[apart].any()
    assert layer.weight()[~apart].abs().sum() > 0
    x, others = normal(3, 6, 5, 4).requires_grad_(), normal(3, 6, 5, 4).requires_grad_()
    values = [layer(x), dense(others)]
    assert torch.allclose(*values)
    for value in values:
        (value**2).sum().backward()
    assert torch.allclose(x.grad, others.grad)
    assert torch.allclose(layer.bias.grad, dense.bias.grad)
    if not normalized:
        assert torch.allclose(
            layer.dense(layer.kernel.grad), dense.kernel.grad.masked_fill(apart[..., None, None], 0), atol=1e-3
        )
    with pytest.raises(ValueError, match="groups is 4; expected a divisor of 6 inputs and of 12 outputs"):
        kind(6, 12, groups=4)


def test_a_channel_that_does_not_vary_is_not_blown_up():
    layer = Pointwise([2], 3)
    with data_dependent_initialization(layer):
        layer(torch.full((4, 2, 3, 3), 0.7))
    assert layer.gain.max() <= 1 / SMALLEST_DEVIATION
    assert layer(torch.full((4, 2, 3, 3), 0.7)).abs().max() < 1e-4


def test_initialization_ends_even_when_the_batch_fails():
    layer = Conv2d(2, 3)
    with pytest.raises(RuntimeError), data_dependent_initialization(layer):
        layer(torch.zeros(1, 5, 4, 4))
    assert not layer.initializing


# Functions -----------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every other": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
    "expanded": lambda x: x[:1].expand_as(x),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_concat_elu_is_elu_of_each_input_and_its_negative(layout, parts):
    inputs = [LAYOUTS[layout](normal(2, 1 + part, 3, 4, seed=part) * 5) for part in range(parts)]
    expected = torch.cat([half for x in inputs for half in (elu(x), elu(-x))], dim=1)
    before = [x.clone() for x in inputs]
    torch.testing.assert_close(concat_elu(*inputs), expected)
    flat = [x.flatten(2)[..., 0] for x in inputs]
    torch.testing.assert_close(concat_elu(*flat), expected.flatten(2)[..., 0])
    short = concat_elu(*(x.bfloat16() for x in inputs))
    torch.testing.assert_close(short.double(), expected, rtol=0.02, atol=0.02)
    assert all(torch.equal(x, old) for x, old in zip(inputs, before, strict=True))


@settings(deadline=None, max_examples=15)
@given(parts=st.integers(1, 3), seed=SEEDS, size=st.sampled_from([0.1, 1, 10]))
def test_the_gradient_of_concat_elu_is_its_derivative(parts, seed, size):
    inputs = [(normal(2, 2, 2, 2, seed=seed + part) * size).requires_grad_() for part in range(parts)]
    assert torch.autograd.gradcheck(concat_elu, inputs)


def test_concat_elu_has_slope_one_and_minus_one_at_zero():
    x = torch.zeros((1, 1), dtype=torch.float64, requires_grad=True)
    for half, slope in ((0, 1), (1, -1)):
        (gradient,) = torch.autograd.grad(concat_elu(x)[0, half], x)
        assert gradient.item() == slope


@settings(deadline=None, max_examples=40)
@given(rate=st.floats(0, 0.999), layout=st.sampled_from(sorted(LAYOUTS)), seed=SEEDS)
def test_dropout_zeroes_a_share_and_scales_up_the_rest(rate, layout, seed):
    """The rate is rounded to a multiple of 1/256. The scale is the inverse of the rounded share of kept values."""
    x = LAYOUTS[layout](normal(3, 5, 20, 31, seed=seed) + 10).requires_grad_()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        y = dropout(x, rate)
    kept = y != 0
    share = kept.double().mean().item()
    expected = 1 - rate
    # The tolerance is five standard deviations plus the rounding of the rate.
    assert abs(share - expected) < 5 * math.sqrt(expected * rate / x.numel()) + 1 / 256
    torch.testing.assert_close(y[kept], x[kept] / x[kept][0] * y[kept][0])
    if kept.any():
        scale = (y[kept][0] / x[kept][0]).item()
        assert 1 / scale == pytest.approx(expected, abs=1 / 256)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, y / x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_values_independently(rate):
    x = torch.ones((8, 16, 32, 32))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = dropout(x, rate)
        again = dropout(x, rate)
    assert not torch.equal(y, again)
    deviation = math.sqrt(rate / (1 - rate))
    assert y.mean().item() == pytest.approx(1, abs=5 * deviation / math.sqrt(x.numel()) + 0.02 * deviation)
    # Neighbors, and values that are 7, 8 and 64 places apart, are uncorrelated.
    flat = (y.flatten() - y.mean()) / y.std()
    for apart in (1, 7, 8, 64):
        assert (flat[apart:] * flat[:-apart]).mean().abs().item() < 5 / math.sqrt(len(flat))
