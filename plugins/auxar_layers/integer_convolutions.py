"""Convolutions of integers: exact copies of the layers of `auxar_layers`, with integer weights and biases.

Integers are stored in float64. Sums and products below 2⁵³ are exact there, so their order does not matter, and every
processor, thread count and batch size gives the same result. Each convolution is computed by matrix products, since
algorithms that transform their inputs, such as Winograd's and the FFT, are not exact.
"""

from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.nn import functional

from auxar_layers.convolution_gradients import Pair, pair
from auxar_layers.convolutions import (
    CausalConv2d,
    Conv2d,
    Convolution,
    Pointwise,
    Sides,
    TransposedConv2d,
    UpsamplingConv2d,
)


class IntegerLayer(Convolution):
    """A layer with integer weights, in float64."""

    kind: ClassVar[str]
    """The name of the layer in files."""
    constants: ClassVar[tuple[str, ...]] = ()
    """The names of the arguments and attributes of the layer besides the numbers of channels and the weights."""
    integers: nn.Parameter
    padding: tuple[int, int] | None = None
    """If the layer is a convolution with stride 1 whose result has the size of its input: the numbers of rows of zeros
    above the input and of columns on its left; negative ones crop. Otherwise None."""
    faster: Any = None
    """A step that multiplies each pixel of `x` with all weights of a layer that enlarges its input, if there is one:
    `auxar_samplers.engines.native.images.product_of`."""

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

    def convolve(self, x: Tensor, *, stride: int = 1, sides: Sides = (0, 0, 0, 0)) -> Tensor:
        kernel = self.integers.permute(2, 3, 1, 0)
        return _convolved(functional.pad(x, sides), kernel, self.bias, stride).movedim(3, 1)

    def convolve_transposed(self, x: Tensor, *, stride: Pair) -> Tensor:
        batch, _, height, width = x.shape
        (outputs, rows, columns), (down, right) = self.integers.shape[1:], pair(stride)
        found = None if self.faster is None else self.faster.run({"x": x})
        terms = x.movedim(1, 3) @ self.integers.flatten(1) if found is None else found["found"].movedim(1, 3)
        if (rows, columns) == (down, right):  # Each output has a single term.
            terms = terms.view(batch, height, width, outputs, rows, columns).permute(0, 1, 4, 2, 5, 3)
            return terms.reshape(batch, height * rows, width * columns, outputs).add_(self.bias).movedim(3, 1)
        size = ((height - 1) * down + rows, (width - 1) * right + columns)
        columns_of = terms.flatten(1, 2).transpose(1, 2)
        return functional.fold(columns_of, size, (rows, columns), stride=stride) + self.bias[:, None, None]


class IntegerCausalConv2d(IntegerLayer, CausalConv2d):
    """A `CausalConv2d` with integer weights."""

    kind = "causal_conv"
    constants = ("above", "columns", "last", "stride")

    @property
    def padding(self) -> tuple[int, int] | None:  # type: ignore[override]
        return (self.above[1], -self.columns[0]) if self.stride == 1 else None


class IntegerConv2d(IntegerLayer, Conv2d):
    """A `Conv2d` with integer weights."""

    kind = "conv"
    constants = ("stride",)

    @property
    def padding(self) -> tuple[int, int] | None:  # type: ignore[override]
        return (1, 1) if self.stride == 1 else None


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
    padding = (0, 0)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Convolves `x` (b, c, h, w), without padding, with a weight (kernel height, kernel width, c, outputs): float64,
    (b, rows, columns, outputs). There is a matrix product for each place of the kernel."""
    rows, columns = (max(0, (x.shape[2 + k] - weight.shape[k]) // stride + 1) for k in range(2))
    image, sums = x.movedim(1, 3).contiguous(), bias.repeat(len(x) * rows * columns, 1)
    for row, matrices in enumerate(weight):
        for column, matrix in enumerate(matrices):
            part = image[:, row : row + stride * rows : stride, column : column + stride * columns : stride]
            sums.addmm_(part.flatten(0, 2), matrix)
    return sums.view(len(x), rows, columns, len(bias))


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
