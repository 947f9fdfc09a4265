"""Convolutions of integers: exact copies of the layers of `auxar_layers`, with integer weights and biases.

Integers are stored in float64. Sums and products below 2⁵³ are exact there, so their order does not matter, and every
processor, thread count and batch size gives the same result. Each convolution is computed as a matrix product, since
algorithms that transform their inputs, such as Winograd's and the FFT, are not exact.
"""

from __future__ import annotations

import math
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
        matrix = self.integers.permute(2, 3, 1, 0).reshape(-1, outputs)
        sums = _multiply(x, matrix, (height, width), stride, padding)
        return (sums + self.bias).movedim(3, 1)

    def convolve_transposed(self, x: Tensor, *, stride: int) -> Tensor:
        height, width = self.integers.shape[2:]
        size = ((x.shape[2] - 1) * stride + height, (x.shape[3] - 1) * stride + width)
        terms = _multiply(x, self.integers.flatten(1)).flatten(1, 2).transpose(1, 2)
        return functional.fold(terms, size, (height, width), stride=stride) + self.bias[:, None, None]


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


def _multiply(x: Tensor, matrix: Tensor, kernel: tuple[int, int] = (1, 1), stride: int = 1, padding: int = 0) -> Tensor:
    """Multiplies the patches of `x` (b, c, h, w) with a matrix (kernel · c, outputs).

    Returns float64, (b, rows, columns, outputs). The channels of a patch's pixel are consecutive.
    """
    rows, columns = (
        max(0, (size + 2 * padding - length) // stride + 1) for size, length in zip(x.shape[2:], kernel, strict=True)
    )
    inputs, outputs = matrix.shape
    shape = (len(x), rows, columns, outputs)
    if not math.prod(shape):
        return x.new_zeros(shape)
    images = max(1, MOST_PATCHES // (inputs * rows * columns))
    products = [_patches(part, rows, columns, kernel, stride, padding) @ matrix for part in x.split(images)]
    return torch.cat(products).view(shape)


def _patches(x: Tensor, rows: int, columns: int, kernel: tuple[int, int], stride: int, padding: int) -> Tensor:
    """The patches of `x` (b, c, h, w), with zeros outside the image: (b · rows · columns, kernel · c)."""
    images, channels, height, width = x.shape
    padded = x.new_zeros((images, height + 2 * padding, width + 2 * padding, channels))
    padded[:, padding : padding + height, padding : padding + width] = x.movedim(1, 3)
    image, row, column, _ = padded.stride()
    # The values of a row of the kernel are consecutive in memory, so that they are copied faster than by `unfold`.
    patches = padded.as_strided(
        (images, rows, columns, kernel[0], kernel[1] * channels), (image, stride * row, stride * column, row, 1)
    )
    return patches.reshape(images * rows * columns, kernel[0] * kernel[1] * channels)


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
