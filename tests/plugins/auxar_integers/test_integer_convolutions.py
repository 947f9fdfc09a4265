"""Tests that convolutions of integers are those of PyTorch, for every kernel, stride and padding."""

import numpy as np
import torch
from helpers.causal_networks import SEEDS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from auxar_layers.integer_convolutions import IntegerLayer


def integers(numbers, shape, most):
    return torch.from_numpy(numbers.integers(-most, most, shape, endpoint=True)).double()


@given(
    seed=SEEDS,
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    image=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    sides=st.tuples(*[st.integers(0, 2)] * 4),
)
@settings(deadline=None, max_examples=40)
def test_convolutions_are_exact(seed, sizes, image, kernel, stride, sides):
    """All sums are below 2⁵³, so their order does not matter."""
    numbers, (images, channels, outputs) = np.random.default_rng(seed), sizes
    x = integers(numbers, (images, channels, *image), 2**30)
    bias = integers(numbers, (outputs,), 2**40)
    layer = IntegerLayer((outputs, channels, *kernel), 0)
    layer.take(integers(numbers, (outputs, channels, *kernel), 2**15), bias)
    transposed = IntegerLayer((channels, outputs, *kernel), 1)
    transposed.take(integers(numbers, (channels, outputs, *kernel), 2**15), bias)
    found = layer.convolve(x, stride=stride, sides=sides)
    grown = transposed.convolve_transposed(x, stride=stride)
    assert torch.equal(grown, functional.conv_transpose2d(x, transposed.integers, bias, stride))
    padded = functional.pad(x, sides)
    if any(size < length for size, length in zip(padded.shape[2:], kernel, strict=True)):
        assert not found.numel()
    else:
        assert torch.equal(found, functional.conv2d(padded, layer.integers, bias, stride))
