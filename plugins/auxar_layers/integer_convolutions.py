"""Convolutions of integers: exact copies of the layers of `auxar_layers`, with integer weights and biases.

Integers are stored in float64. Sums and products below 2⁵³ are exact there, so their order does not matter, and every
processor, thread count and batch size gives the same result. Each convolution is computed as a matrix product, since
algorithms that transform their inputs, such as Winograd's and the FFT, are not exact.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from auxar_layers.convolutions import (
    CausalConv2d,
    Conv2d,
    NormalizedLayer,
    Pointwise,
    TransposedConv2d,
    UpsamplingConv2d,
)

MOST_PATCHES = 2**21
"""Number of values that are copied for a matrix product at once. New memory for many more takes nearly as long as the
product itself."""


class IntegerLayer(NormalizedLayer):
    """A layer with integer weights in place of direction and gain."""

    integers: nn.Parameter

    def take(self, weight: Tensor, bias: Tensor) -> None:
        """Replaces direction, gain and bias by integers in float64.

        Raises `ValueError` unless they have the shapes of the layer's weight and bias.
        """
        if weight.shape != self.direction.shape or bias.shape != self.bias.shape:
            raise ValueError(f"weight and bias have the shapes {tuple(weight.shape)} and {tuple(bias.shape)}")
        del self.direction, self.gain
        self.integers = nn.Parameter(weight.double(), requires_grad=False)
        self.bias = nn.Parameter(bias.double(), requires_grad=False)

    def weight(self) -> Tensor:
        return self.integers

    def finish(self, output: Tensor) -> Tensor:
        return output

    def convolve(self, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
        outputs, _, height, width = self.integers.shape
        rows = max(0, (x.shape[2] + 2 * padding - height) // stride + 1)
        columns = max(0, (x.shape[3] + 2 * padding - width) // stride + 1)
        if not rows or not columns:
            return x.new_zeros((len(x), outputs, rows, columns))
        weight = self.integers.flatten(1)
        if (height, width, stride, padding) == (1, 1, 1, 0):
            products = weight @ x.flatten(2)
        else:
            images = max(1, MOST_PATCHES // (weight.shape[1] * rows * columns))
            products = torch.cat(
                [
                    weight @ functional.unfold(part, (height, width), padding=padding, stride=stride)
                    for part in x.split(images)
                ]
            )
        return (products + self.bias[:, None]).view(len(x), outputs, rows, columns)

    def convolve_transposed(self, x: Tensor, *, stride: int) -> Tensor:
        height, width = self.integers.shape[2:]
        size = ((x.shape[2] - 1) * stride + height, (x.shape[3] - 1) * stride + width)
        patches = self.integers.flatten(1).t() @ x.flatten(2)
        return functional.fold(patches, size, (height, width), stride=stride) + self.bias[:, None, None]


class IntegerCausalConv2d(IntegerLayer, CausalConv2d):
    """A `CausalConv2d` with integer weights."""


class IntegerConv2d(IntegerLayer, Conv2d):
    """A `Conv2d` with integer weights."""


class IntegerUpsamplingConv2d(IntegerLayer, UpsamplingConv2d):
    """An `UpsamplingConv2d` with integer weights."""


class IntegerTransposedConv2d(IntegerLayer, TransposedConv2d):
    """A `TransposedConv2d` with integer weights."""


class IntegerPointwise(IntegerLayer, Pointwise):
    """A `Pointwise` layer with integer weights. Its inputs are already activated."""


def _causal(layer: CausalConv2d) -> IntegerLayer:
    outputs, inputs = layer.direction.shape[:2]
    return IntegerCausalConv2d(inputs, outputs, layer.above, layer.columns, stride=layer.stride)


def _ordinary(layer: Conv2d) -> IntegerLayer:
    outputs, inputs = layer.direction.shape[:2]
    return IntegerConv2d(inputs, outputs, stride=layer.stride)


def _upsampling(layer: UpsamplingConv2d) -> IntegerLayer:
    inputs, outputs = layer.direction.shape[:2]
    return IntegerUpsamplingConv2d(inputs, outputs, factor=layer.factor, overlap=layer.overlap)


def _transposed(layer: TransposedConv2d) -> IntegerLayer:
    inputs, outputs = layer.direction.shape[:2]
    return IntegerTransposedConv2d(inputs, outputs, factor=layer.factor)


def _pointwise(layer: Pointwise) -> IntegerLayer:
    sizes = [size * (2 if layer.activation else 1) for size in layer.inputs]
    return IntegerPointwise(sizes, layer.direction.shape[0])


_MAKERS: dict[type[NormalizedLayer], Callable[..., IntegerLayer]] = {
    CausalConv2d: _causal,
    Conv2d: _ordinary,
    UpsamplingConv2d: _upsampling,
    TransposedConv2d: _transposed,
    Pointwise: _pointwise,
}


def has_integers(layer: nn.Module) -> bool:
    """Whether a layer can be converted to integers."""
    return type(layer) in _MAKERS


def integer_layer(layer: NormalizedLayer, weight: Tensor, bias: Tensor) -> IntegerLayer:
    """The layer that computes the same as `layer` with integer weights and biases, given in any dtype."""
    made = _MAKERS[type(layer)](layer)
    made.take(weight, bias)
    return made


def largest_sums(layer: IntegerLayer, bounds: Tensor) -> Tensor:
    """Bounds of the layer's sums, and of all their partial sums, for each output: float64, (outputs,).

    `bounds` has the largest magnitude of each input channel, (inputs,). Raises `ValueError` for another number of them.
    """
    weight = layer.integers.abs()
    if layer.outputs_dim == 1:
        weight = weight.transpose(0, 1)
    if len(bounds) != weight.shape[1]:
        raise ValueError(f"a layer of {weight.shape[1]} inputs gets {len(bounds)}")
    return (weight * bounds.view(1, -1, 1, 1)).sum((1, 2, 3)) + layer.bias.abs()
