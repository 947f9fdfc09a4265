"""Tests that convolutions of integers are those of PyTorch, for every kernel, stride and padding."""

import numpy as np
import torch
from helpers.causal_networks import SEEDS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from auxar_integers.quantities import LARGEST_TOTAL, SUMMED, Quantity, Sum, Term, in_integers
from auxar_layers.convolutions import Pointwise
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


@given(seed=SEEDS, inputs=st.sampled_from([1, SUMMED - 1, SUMMED, 3 * SUMMED]), heavy=st.booleans())
@settings(deadline=None, max_examples=20)
def test_the_largest_weights_of_an_output_add_up_in_32_bits(seed, inputs, heavy):
    """Products of 512 values of 16 bits with them are then below 2³¹."""
    numbers = np.random.default_rng(seed)
    layer = Pointwise([inputs], 2)
    with torch.no_grad():
        layer.direction.copy_(torch.from_numpy(numbers.normal(size=(2, inputs, 1, 1)) ** (5 if heavy else 1)))
    term = Term("layer", layer, (Quantity("image", 2.0**-8, 2**15 - 1, inputs),), ())
    (found,), *_ = in_integers(Sum((term,)), 8, 32639)
    magnitudes = found.integers.abs().flatten(1)
    assert magnitudes.topk(min(SUMMED, inputs)).values.sum(1).max() <= LARGEST_TOTAL
    assert magnitudes.max() <= 32639
    assert magnitudes.max() == 32639 or magnitudes.topk(min(SUMMED, inputs)).values.sum(1).max() > 0.99 * LARGEST_TOTAL
