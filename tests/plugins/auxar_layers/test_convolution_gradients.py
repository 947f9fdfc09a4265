"""Tests of convolutions whose values and gradients do not depend on the number of threads."""

import itertools
from functools import partial

import pytest
import torch
from helpers.causal_networks import generator
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from auxar.numerics.threads import threads
from auxar_layers import convolution_gradients
from auxar_layers.convolution_gradients import convolve
from auxar_layers.linear import LayerNorm, Linear
from auxar_layers.parallel import each


def inputs(images, channels, outputs, kernel, size, transposed, *, dtype=torch.float32, seed=0):
    noise = partial(torch.randn, generator=generator(seed), dtype=dtype)
    shape = (channels, outputs, *kernel) if transposed else (outputs, channels, *kernel)
    found = noise(images, channels, *size), noise(shape), noise(outputs)
    return [part.requires_grad_() for part in found]


def gradients(convolution, parts, seed=1):
    """The output for `parts`, and the gradients of a random weighted sum of it with respect to them."""
    output = convolution(*parts)
    weights = torch.randn(output.shape, generator=generator(seed), dtype=output.dtype)
    return [output, *torch.autograd.grad((output * weights).sum(), parts)]


CASES = {
    "images": st.integers(1, 20),
    "channels": st.sampled_from([1, 3, 16, 24]),
    "outputs": st.sampled_from([1, 5, 16, 40]),
    "kernel": st.sampled_from([(1, 1), (1, 2), (2, 3), (3, 3)]),
    "size": st.sampled_from([(3, 3), (5, 8), (12, 12)]),
    "stride": st.sampled_from([1, 2]),
    "transposed": st.booleans(),
    "part": st.sampled_from([1, 10**5, 10**8]),
}


@given(**CASES)
@example(1, 96, 192, (3, 3), (12, 12), 1, False, 10**8)  # a single image
@example(8, 64, 32, (1, 1), (8, 8), 1, False, 10**8)  # few images and a 1×1 kernel
@settings(max_examples=30, deadline=None)
def test_no_bit_depends_on_the_number_of_threads(images, channels, outputs, kernel, size, stride, transposed, part):
    parts = inputs(images, channels, outputs, kernel, size, transposed)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution_gradients, "PART", part)
        for count in (1, 2, 3):
            with threads(count):
                found.append(gradients(partial(convolve, stride=stride, transposed=transposed), parts))
                with torch.no_grad():
                    found[-1].append(convolve(*parts, stride=stride, transposed=transposed))
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], other, strict=True))


@given(**CASES)
@settings(max_examples=30, deadline=None)
def test_values_and_gradients_are_those_of_pytorch(images, channels, outputs, kernel, size, stride, transposed, part):
    parts = inputs(images, channels, outputs, kernel, size, transposed, dtype=torch.float64)
    reference = functional.conv_transpose2d if transposed else functional.conv2d
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution_gradients, "PART", part)
        found = gradients(partial(convolve, stride=stride, transposed=transposed), parts)
    for own, expected in zip(found, gradients(partial(reference, stride=stride), parts), strict=True):
        torch.testing.assert_close(own, expected)


def test_bfloat16_of_autocast_is_used(monkeypatch):
    monkeypatch.setattr(convolution_gradients, "PART", 1)
    parts = inputs(4, 8, 8, (3, 3), (6, 6), False)
    with torch.autocast("cpu", torch.bfloat16):
        own, expected = gradients(convolve, parts), gradients(functional.conv2d, parts)
    assert own[0].dtype == torch.bfloat16
    for found, other in zip(own, expected, strict=True):
        assert found.dtype == other.dtype
        torch.testing.assert_close(found, other, rtol=0.02, atol=0.2)


def test_parts_in_bfloat16_are_added_in_float32():
    parts = [torch.full((2,), value, dtype=torch.bfloat16) for value in (256.0, *64 * [0.5])]
    assert convolution_gradients.added(parts).tolist() == [288.0, 288.0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_call_uses_one_thread_and_results_keep_their_order(count):
    numbers = itertools.count()

    def call(index):
        next(numbers)
        return index, torch.get_num_threads(), torch.is_grad_enabled()

    with threads(3):
        assert each(call, count) == [(index, 1, False) for index in range(count)]
        assert torch.get_num_threads() == 3
    assert next(numbers) == count


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_of_a_thread_is_raised(error):
    def call(index):
        if index == 3:
            raise error("a message")

    with threads(2), pytest.raises(error, match="a message"):
        each(call, 6)
    assert each(lambda index: index, 2) == [0, 1]


def layer_of(kind):
    torch.manual_seed(0)
    layer = Linear(24, 40) if kind == "linear" else LayerNorm(24)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


@pytest.mark.parametrize("part", [1, 1000, 10**8])
@pytest.mark.parametrize(("kind", "reference"), [("linear", torch.nn.Linear), ("norm", torch.nn.LayerNorm)])
def test_layers_for_tokens_have_the_values_of_pytorch_and_no_bit_depends_on_threads(kind, reference, part, monkeypatch):
    monkeypatch.setattr(convolution_gradients, "PART", part)
    layer = layer_of(kind)
    x = torch.randn(5, 300, 24, generator=generator(1)).requires_grad_()

    def results(forward):
        return gradients(lambda x, *_: forward(x), [x, *layer.parameters()])

    found = []
    for count in (1, 2, 3):
        with threads(count):
            found.append(results(layer))
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], other, strict=True))
    for own, expected in zip(found[0], results(partial(reference.forward, layer)), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-3)
