"""Tests that the C++ library has PyTorch's results for whole images of integers, with every instruction set."""

import attrs
import numpy as np
import pytest
import torch
from helpers.causal_networks import SEEDS
from helpers.integer_heads import heads, parameters_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from auxar import IntegerHead, Interval
from auxar.numerics.threads import threads
from auxar_layers import integer_functions as functions
from auxar_samplers.engines.native.images import ImageFunction, ImageProduct, ImageStep
from auxar_samplers.engines.native.library import library

pytestmark = pytest.mark.usefixtures("instruction_set")


def integers(numbers, shape, most):
    found = numbers.integers(-most, most, shape, endpoint=True)
    return torch.from_numpy(
        np.where(numbers.random(shape) < 0.2, most * numbers.choice([-1, 0, 1], shape), found)
    ).double()


@given(
    seed=SEEDS,
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70)),
    image=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(-2, 4)] * 2),
    count=st.integers(1, 3),
)
@settings(deadline=None, max_examples=15)
def test_sums_of_convolutions_are_exact(seed, sizes, image, kernel, padding, count):
    """A step gives the sum of two convolutions, of the same size as the image."""
    numbers, (images, channels, outputs) = np.random.default_rng(seed), sizes
    weight, bias = integers(numbers, (outputs, channels, *kernel), 2**15 - 129), integers(numbers, (outputs,), 2**40)
    weight[..., 0, numbers.integers(kernel[1])] = 0  # as in causal kernels
    if not library().most_inputs_of_words():
        pytest.skip("this library does not multiply integers of 16 bits")
    x, y = (integers(numbers, (images, channels, *image), 2**15 - 1) for _ in range(2))
    (height, width), (top, left) = image, padding
    products = [ImageProduct("sums", name, weight.permute(2, 3, 1, 0), bias, padding) for name in "xy"]
    step = ImageStep(products, [ImageFunction("found", functions.IntegerConcat(), ("sums",))], ["found"], "found")
    far = functional.pad(x + y, (9, 9, 9, 9))
    rows, columns = (9 - top, 9 - top + height + kernel[0] - 1), (9 - left, 9 - left + width + kernel[1] - 1)
    padded = far[:, :, slice(*rows), slice(*columns)]
    with threads(count):
        (found,) = (step.run({"x": x, "y": y.to(torch.int16)}) or {}).values()
        assert torch.equal(found, functional.conv2d(padded, weight, 2 * bias))
        products = [attrs.evolve(products[0], first=(1, 2)), *products[1:]]
        step = ImageStep(products, [ImageFunction("found", functions.IntegerConcat(), ("sums",))], ["found"], "found")
        (later,) = (step.run({"x": x, "y": y}) or {}).values()
        found[:, :, :1] -= bias[:, None, None]
        found[:, :, 1:, :2] -= bias[:, None, None]
        assert torch.equal(later, found)
        assert step.run({"x": x[:, 1:], "y": y}) is None
        x[-1, -1, -1, -1] = numbers.choice([2**15, -(2**15) - 1, 0.5, np.nan])
        assert step.run({"x": x, "y": y}) is None


@given(
    seed=SEEDS, channels=st.integers(1, 40), shift=st.integers(-3, 20), spread=st.booleans(), count=st.integers(1, 3)
)
@settings(deadline=None, max_examples=10)
def test_functions_are_those_of_pytorch(seed, channels, shift, spread, count):
    numbers, bound = np.random.default_rng(seed), 2**15 - 1
    x, y = (integers(numbers, (2, each, 3, 5), bound) for each in (channels, 1 if spread else channels))
    multiplier = integers(numbers, (channels,), 2**20)
    made = {
        functions.Requantize(multiplier=multiplier, shift=shift, bound=bound): [x * 1000],
        functions.IntegerSum(weights=[3, -5], constant=7, shift=shift, bound=2**20): [x, y],
        functions.IntegerProduct(shift=shift, bound=bound): [y, x],
        functions.IntegerELU(lookup=functions.Lookup(functions.elu_table(11, bound))): [x],
        functions.IntegerConcatELU(lookup=functions.Lookup(functions.elu_table(9, bound))): [x],
        functions.IntegerSigmoid(lookup=functions.Lookup(functions.sigmoid_table(12, bound))): [x],
        functions.IntegerConcat(): [x, y],
        functions.IntegerReLU(): [x],
        functions.IntegerTanh(lookup=functions.Lookup(functions.tanh_table(13, bound))): [x],
        functions.IntegerGate(lookup=functions.Lookup(functions.sigmoid_table(12, bound)), shift=shift, bound=bound): [
            torch.cat([x, -x], 1)
        ],
    }
    for function, inputs in made.items():
        names, expected = "xy"[: len(inputs)], function(*inputs)
        one, two = (
            ImageFunction("one", function, tuple(names)),
            ImageFunction("two", functions.IntegerConcat(), ("one",)),
        )
        given = {name: each.to(torch.int16) if x is each else each for name, each in zip(names, inputs, strict=True)}
        with threads(count):
            found = ImageStep([], [one, two], ["one", "two"], "two").run(given)
            if bool((expected.abs() < 2**15).all()):
                assert found is not None
                assert all(torch.equal(each, expected) for each in found.values()), function.kind
            else:
                assert found is None, function.kind
            (only,) = (ImageStep([], [one], ["one"], "one").run(given) or {}).values()
        assert torch.equal(only, expected), function.kind


@given(head=heads(), seed=SEEDS, restricted=st.booleans(), count=st.integers(1, 3))
@settings(deadline=None, max_examples=15)
def test_ranges_of_a_coder_are_those_of_the_head_in_python(head, seed, restricted, count):
    """Values may lie outside of their intervals."""
    numbers, own = np.random.default_rng(seed), head.integer_head()
    parameters = parameters_of(head, 12, seed, 2.0).view(2, 2, 3, -1).permute(0, 3, 1, 2)
    image, low, high = (torch.from_numpy(numbers.integers(0, head.levels, (2, head.channels, 2, 3))) for _ in range(3))
    interval = Interval(torch.minimum(low, high), torch.maximum(low, high)) if restricted else None
    with threads(count):
        found = own.coding_ranges(parameters, image, interval)
    for each, expected in zip(found, IntegerHead.coding_ranges(own, parameters, image, interval), strict=True):
        assert torch.equal(each, expected)
