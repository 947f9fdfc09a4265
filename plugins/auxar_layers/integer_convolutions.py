"""Convolutions of integers: exact copies of the layers of `auxar_layers`, with integer weights and biases.

Integers are stored in float64. Sums and products below 2⁵³ are exact there, so their order does not matter, and every
processor, thread count and batch size gives the same result. Each convolution is computed by matrix products, since
algorithms that transform their inputs, such as Winograd's and the FFT, are not exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from auxar_layers.convolution_gradients import Pair, pair
from auxar_layers.convolutions import CausalConv2d, Conv2d, Convolution, Pointwise, TransposedConv2d, UpsamplingConv2d


class IntegerLayer(Convolution):
    """A layer with integer weights, in float64."""

    kind: ClassVar[str]
    """The name of the layer in files."""
    constants: ClassVar[tuple[str, ...]] = ()
    """The names of the arguments and attributes of the layer besides the numbers of channels and the weights."""
    integers: nn.Parameter
    faster: Callable[[Tensor, int, int, int, Tensor], Tensor | None] | None = None
    """A faster convolution with these weights and stride 1. It gets the values (b, c, h, w), the height and width of
    the result, the padding, and the bias. The result is (b, rows, columns, outputs), or None if it cannot be used."""

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, **constants: Any) -> Self:
        """The layer with the given constants, and with integers as weight and bias, in any dtype.

        Raises `ValueError` unless they have the shapes of the layer's weight and bias.
        """
        first, second = weight.shape[:2]
        # The weights of layers that enlarge their inputs begin with the dimension of inputs.
        inputs, outputs = (first, second) if "factor" in cls.constants else (second, first)
        layer: Any = cls
        made: Self = layer(constants.pop("parts", inputs), outputs, **constants)
        made.take(weight, bias)
        return made

    def take(self, weight: Tensor, bias: Tensor) -> None:
        if tuple(weight.shape) != self.shape or bias.shape != self.bias.shape:
            raise ValueError(f"weight and bias have the shapes {tuple(weight.shape)} and {tuple(bias.shape)}")
        del self.direction, self.gain
        self.integers = nn.Parameter(self.masked(weight.double()), requires_grad=False)
        self.bias = nn.Parameter(bias.double(), requires_grad=False)

    def weight(self) -> Tensor:
        return self.integers

    def finish(self, output: Tensor) -> Tensor:
        return output

    def convolve(self, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
        kernel = self.integers.permute(2, 3, 1, 0)
        rows, columns = (
            max(0, (size + 2 * padding - length) // stride + 1)
            for size, length in zip(x.shape[2:], kernel.shape, strict=False)
        )
        found = None
        if stride == 1 and self.faster is not None:
            found = self.faster(x, rows, columns, padding, self.bias)
        if found is None:
            found = _convolved(x, kernel, self.bias, stride, padding, rows, columns)
        return found.movedim(3, 1)

    def convolve_transposed(self, x: Tensor, *, stride: Pair) -> Tensor:
        height, width = self.integers.shape[2:]
        rows, columns = pair(stride)
        size = ((x.shape[2] - 1) * rows + height, (x.shape[3] - 1) * columns + width)
        weight, terms = self.integers.flatten(1), None
        if self.faster is not None:
            terms = self.faster(x, x.shape[2], x.shape[3], 0, weight.new_zeros(weight.shape[1]))
        if terms is None:
            terms = x.movedim(1, 3) @ weight
        columns_of = terms.flatten(1, 2).transpose(1, 2)
        return functional.fold(columns_of, size, (height, width), stride=stride) + self.bias[:, None, None]


class IntegerCausalConv2d(IntegerLayer, CausalConv2d):
    """A `CausalConv2d` with integer weights."""

    kind = "causal_conv"
    constants = ("above", "columns", "last", "stride")


class IntegerConv2d(IntegerLayer, Conv2d):
    """A `Conv2d` with integer weights."""

    kind = "conv"
    constants = ("stride",)


class IntegerUpsamplingConv2d(IntegerLayer, UpsamplingConv2d):
    """An `UpsamplingConv2d` with integer weights."""

    kind = "upsampling_conv"
    constants = ("factor", "overlap")


class IntegerTransposedConv2d(IntegerLayer, TransposedConv2d):
    """A `TransposedConv2d` with integer weights."""

    kind = "transposed_conv"
    constants = ("factor",)


class IntegerPointwise(IntegerLayer, Pointwise):
    """A `Pointwise` layer with integer weights. Its inputs are already activated."""

    kind = "pointwise"
    constants = ("parts",)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, rows: int, columns: int) -> Tensor:
    """Convolves `x` (b, c, h, w) with a weight (kernel height, kernel width, c, outputs): float64, (b, rows, columns,
    outputs).

    There is a matrix product for each place of the kernel. With stride 1, its input is a part of the padded image's
    memory, shifted by this place, so no patches are copied. It also has pixels at the end of each row that are no
    results, and are left out in the end.
    """
    batch, channels, height, width = x.shape
    if not batch * rows * columns:
        return x.new_zeros((batch, rows, columns, len(bias)))
    high, wide = height + 2 * padding, width + 2 * padding
    pixels = batch * high * wide
    # The last shifts reach beyond the last pixel.
    flat = x.new_zeros((pixels + (len(weight) - 1) * wide + weight.shape[1] - 1, channels))
    padded = flat[:pixels].view(batch, high, wide, channels)
    padded[:, padding : padding + height, padding : padding + width] = x.movedim(1, 3)
    sums: Tensor | None = None
    for row, matrices in enumerate(weight):
        for column, matrix in enumerate(matrices):
            if stride == 1:
                first = row * wide + column
                inputs = flat[first : first + pixels]
            else:
                part = padded[:, row : row + stride * rows : stride, column : column + stride * columns : stride]
                inputs = part.reshape(batch * rows * columns, channels)
            sums = torch.addmm(bias, inputs, matrix) if sums is None else sums.addmm_(inputs, matrix)
    assert sums is not None
    if stride == 1:
        return sums.view(batch, high, wide, len(bias))[:, :rows, :columns]
    return sums.view(batch, rows, columns, len(bias))


INTEGER_LAYERS: dict[type[nn.Module], type[IntegerLayer]] = {
    CausalConv2d: IntegerCausalConv2d,
    Conv2d: IntegerConv2d,
    UpsamplingConv2d: IntegerUpsamplingConv2d,
    TransposedConv2d: IntegerTransposedConv2d,
    Pointwise: IntegerPointwise,
}
"""The layers that can be converted to integers, and their counterparts."""


def integer_layer(layer: Convolution, weight: Tensor, bias: Tensor) -> IntegerLayer:
    """The layer that computes the same as `layer` with integer weights and biases, given in any dtype."""
    kind = INTEGER_LAYERS[type(layer)]
    return kind.of(weight, bias, **{name: getattr(layer, name) for name in kind.constants})


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
