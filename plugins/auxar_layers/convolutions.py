"""Convolutions, causal and ordinary, with data-dependent initialization.

By default, weights are normalized: a weight is gain · direction / |direction| (Salimans & Kingma 2016). The first batch
sets the scale of the weight and the bias so that every output channel has mean 0 and the layer's initial standard
deviation, or less if the channel is nearly constant.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from auxar.numerics.changing import changed
from auxar_layers.convolution_gradients import Pair, convolve, pair
from auxar_layers.functional import concat_elu, dropout

Sides = tuple[int, int, int, int]
"""Numbers of columns of zeros added on the left and on the right, and of rows above and below. Negative ones crop."""

# The lower bound of the deviations by which initialization divides. Without it, a channel that is nearly constant over
# the first batch would get a huge gain, and its output for the next batch would be huge.
SMALLEST_DEVIATION = 0.05


class Options(TypedDict, total=False):
    """Options of the layers other than `TransposedConv2d`."""

    initial_deviation: float
    """Standard deviation of each output channel after the initialization (default: 1)."""
    normalized: bool
    """Whether the weight is normalized (default: True)."""


class Convolution(nn.Module):
    """The base class of the layers: parameters, weight and data-dependent initialization."""

    groups = 1
    """Number of groups of channels. Each group of outputs reads only its own group of inputs."""
    __call__: Callable[..., Tensor]

    def __init__(
        self, shape: Sequence[int], outputs_dim: int, *, initial_deviation: float = 1.0, normalized: bool = True
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        """The shape of the weight."""
        self.outputs_dim = outputs_dim
        self.initial_deviation = initial_deviation
        self.initializing = False
        outputs = shape[outputs_dim]
        direction = nn.init.normal_(torch.empty(*shape), std=0.05)
        gain = torch.full((outputs,), initial_deviation)
        self.direction: Any = nn.Parameter(direction) if normalized else None
        self.gain: Any = nn.Parameter(gain) if normalized else None
        # The norm of a tensor on the device meta would import PyTorch's compiler, which takes seconds.
        kernel = direction if normalized or direction.is_meta else self._normalized(direction, gain)
        self.kernel: Any = None if normalized else nn.Parameter(kernel)
        """The weight; None if it is normalized."""
        self.bias = nn.Parameter(torch.zeros(outputs))

    def weight(self) -> Tensor:
        """The weight for all inputs and outputs, with zeros between different groups."""
        return self.dense(self.grouped_weight())

    def dense(self, weight: Tensor) -> Tensor:
        """A weight (outputs, inputs / groups, h, w) as a weight (outputs, inputs, h, w), with zeros between groups."""
        if self.groups == 1:
            return weight
        own = torch.eye(self.groups, dtype=weight.dtype, device=weight.device)[:, None, :, None, None, None]
        parts = weight.unflatten(0, (self.groups, -1))[:, :, None]
        found: Tensor = (parts * own).flatten(2, 3).flatten(0, 1)
        return found

    def grouped_weight(self) -> Tensor:
        """The weight as PyTorch stores it: the kernel or, if it is normalized, gain · direction / |direction|."""
        if self.kernel is not None:
            return self.masked(self.kernel)
        return self._normalized(self.masked(self.direction), self.gain)

    def _normalized(self, direction: Tensor, gain: Tensor) -> Tensor:
        others = [dim for dim in range(direction.dim()) if dim != self.outputs_dim]
        norm = torch.linalg.vector_norm(direction, dim=others, keepdim=True)
        found: Tensor = direction * (self.by_output(gain) / norm)
        return found

    def masked(self, weight: Tensor) -> Tensor:
        """A weight with zeros at the places that the layer does not read. By default, it reads all places."""
        return weight

    def by_output(self, values: Tensor) -> Tensor:
        """Values (outputs,) in the shape that broadcasts to the weight."""
        return values.view([-1 if dim == self.outputs_dim else 1 for dim in range(len(self.shape))])

    def convolve(self, x: Tensor, *, stride: int = 1, sides: Sides = (0, 0, 0, 0)) -> Tensor:
        """The convolution of `x` (b, c, h, w), after zeros are added on its sides, with the layer's weight and bias."""
        # Equal sides need no copy of the image.
        padding = max(0, sides[0]) if sides == sides[:1] * 4 else 0
        padded = x if padding or not any(sides) else functional.pad(x, sides)
        return convolve(padded, self.grouped_weight(), self.bias, stride=stride, padding=padding, groups=self.groups)

    def convolve_transposed(self, x: Tensor, *, stride: Pair) -> Tensor:
        """The transposed convolution of `x` (b, c, h, w) with the layer's weight and bias."""
        return convolve(x, self.weight(), self.bias, stride=stride, transposed=True)

    def finish(self, output: Tensor) -> Tensor:
        """Returns `output`. In the initializing pass, sets weight and bias from it, and returns it normalized."""
        # In an image of one row, a `CausalConv2d` that reads only rows above has no output to normalize.
        if not (self.initializing and output.numel()):
            return output
        with torch.no_grad():
            deviation, mean = torch.std_mean(output, dim=(0, 2, 3), correction=0)
            factor = self.initial_deviation / deviation.clamp_min(SMALLEST_DEVIATION)
            if self.gain is not None:
                self.gain.mul_(factor)
            if self.kernel is not None:
                self.kernel.mul_(self.by_output(factor))
            self.bias.sub_(mean).mul_(factor)
            return (output - mean.view(1, -1, 1, 1)) * factor.view(1, -1, 1, 1)

    def start_at(self, output: Tensor, deviation: float) -> None:
        """Moves initial outputs, which have mean 0, to the mean `output`, (outputs,), and scales their deviations."""
        with torch.no_grad():
            for scale in (self.gain, self.kernel):
                if scale is not None:
                    scale.mul_(deviation)
            self.bias.mul_(deviation).add_(output)


@contextlib.contextmanager
def data_dependent_initialization(network: nn.Module) -> Iterator[None]:
    """A context, without gradients, in which each convolution that runs is initialized from its output."""
    layers = (layer for layer in network.modules() if isinstance(layer, Convolution))
    with changed(layers, initializing=True), torch.no_grad():
        yield


def divided(inputs: int, outputs: int, groups: int) -> int:
    """The number of inputs of each group. Raises `ValueError` unless `groups` divides the inputs and the outputs."""
    if groups < 1 or inputs % groups or outputs % groups:
        raise ValueError(f"groups is {groups}; expected a divisor of {inputs} inputs and of {outputs} outputs")
    return inputs // groups


class CausalConv2d(Convolution):
    """A convolution that reads a given rectangle of inputs for each output.

    The output at (r, c) depends on rows r - above[1] … r - above[0] and columns c + columns[0] … c + columns[1]. Values
    outside the image are zero. `above` must be ≥ 0; whether the layer is causal depends on `above` and `columns`.

    Outputs whose rectangle lies entirely above the image or to its left are 0, without the bias. Such a layer equals a
    layer that reads nearer inputs and whose outputs are then shifted down or to the right, as in the first layers of
    PixelCNN++ (Salimans et al. 2017, section 2.3).

    With stride 2, the output at (i, j) is the stride-1 output at (2i, 2j), and height and width are halved, rounded up.

    With `last`, the lowest row of the rectangle is shorter: only its columns c + columns[0] … c + last are read. Raises
    `ValueError` unless last is an integer with columns[0] - 1 ≤ last ≤ columns[1].

    With `groups`, outputs read only the inputs of their own group, as in PyTorch; a depthwise convolution has as many
    groups as channels. Fast samplers and integers compute such a layer as a dense one. Raises `ValueError` unless
    `groups` divides the numbers of inputs and outputs.
    """

    weights_version = 2

    def __init__(
        self,
        inputs: int,
        outputs: int,
        above: tuple[int, int],
        columns: tuple[int, int],
        *,
        last: int | None = None,
        stride: int = 1,
        groups: int = 1,
        **options: Unpack[Options],
    ) -> None:
        if last is not None and not (type(last) is int and columns[0] - 1 <= last <= columns[1]):
            raise ValueError(f"last is {last!r}; expected an integer from {columns[0] - 1} to {columns[1]}")
        self.above = above
        self.columns = columns
        self.last = last
        self.stride = stride
        self.groups = groups
        kernel = (above[1] - above[0] + 1, columns[1] - columns[0] + 1)
        super().__init__((outputs, divided(inputs, outputs, groups), *kernel), 0, **options)

    def masked(self, weight: Tensor) -> Tensor:
        if self.last is None:
            return weight
        unread = torch.zeros(weight.shape[2:], dtype=torch.bool, device=weight.device)
        unread[-1, self.last + 1 - self.columns[0] :] = True
        return weight.masked_fill(unread, 0.0)

    @property
    def first(self) -> tuple[int, int]:
        """The first row and the first column in which outputs read pixels of the image. Outputs before them are 0."""
        return -(-self.above[0] // self.stride), max(0, -(self.columns[1] // self.stride))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        # Negative padding crops the input, and `pad` fails if it crops more than the whole input. This would happen if
        # the kernel lay outside the image for every output. Such a kernel reads padding alone.
        beyond = max(0, self.above[0] - height)
        left, right = max(0, self.columns[0] - width), max(0, -self.columns[1] - width)
        columns = (left - self.columns[0] - right, right + self.columns[1] - left)
        sides = (*columns, self.above[1] - beyond, beyond - self.above[0])
        output = self.convolve(x, stride=self.stride, sides=sides)
        if not any(self.first):
            return self.finish(output)
        top, left = min(self.first[0], output.shape[2]), min(self.first[1], output.shape[3])
        return functional.pad(self.finish(output[:, :, top:, left:]), (left, 0, top, 0))


class Conv2d(Convolution):
    """An ordinary 3×3 convolution with zero padding.

    With stride 1, the output at (r, c) reads rows r - 1 … r + 1 and columns c - 1 … c + 1. With stride 2, the output at
    (i, j) reads rows 2i … 2i + 2 and columns 2j … 2j + 2, and height and width are halved, rounded up. These are the
    places at which `TransposedConv2d` writes, so the two keep features in place. `groups` is as in `CausalConv2d`.
    """

    weights_version = 2

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, groups: int = 1, **options: Unpack[Options]
    ) -> None:
        self.stride = stride
        self.groups = groups
        super().__init__((outputs, divided(inputs, outputs, groups), 3, 3), 0, **options)

    def forward(self, x: Tensor) -> Tensor:
        sides = (1, 1, 1, 1) if self.stride == 1 else (0, 2, 0, 2)
        return self.finish(self.convolve(x, stride=self.stride, sides=sides))


class UpsamplingConv2d(Convolution):
    """A transposed convolution of stride `factor`, cropped to the `height` and `width` passed to `forward`.

    The kernel is as high as the stride, so each input row affects only the output rows that it covers: a stream that is
    causal in rows stays causal in rows. `overlap` (left, right) widens the kernel by these numbers of columns, so that
    neighboring columns mix. `factor` is one number or, for embeddings, the numbers for rows and columns.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        factor: Pair = 2,
        overlap: tuple[int, int] = (0, 0),
        **options: Unpack[Options],
    ) -> None:
        self.factor = factor
        self.overlap = overlap
        rows, columns = pair(factor)
        super().__init__((inputs, outputs, rows, columns + sum(overlap)), 1, **options)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        wide = self.convolve_transposed(x, stride=self.factor)
        left = self.overlap[0]
        return self.finish(wide[:, :, :height, left : left + width])


class TransposedConv2d(Convolution):
    """An ordinary transposed convolution of stride `factor`, cropped to the `height` and `width` passed to `forward`.

    The kernel has factor + 1 rows and columns, 3×3 for factor 2. Input (i, j) is written to rows factor · i …
    factor · (i + 1) and the same columns of j, so that neighboring inputs overlap and leave no gap.
    """

    def __init__(self, inputs: int, outputs: int, *, factor: int = 2) -> None:
        self.factor = factor
        super().__init__((inputs, outputs, factor + 1, factor + 1), 1)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        return self.finish(self.convolve_transposed(x, stride=self.factor)[:, :, :height, :width])


class Pointwise(Convolution):
    """A 1×1 convolution over the concatenated channels of one or more inputs.

    If `activation`, concat-ELU is applied to the inputs first.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: int, *, activation: bool = False, **options: Unpack[Options]
    ) -> None:
        self.activation = activation
        self.parts = [size * (2 if activation else 1) for size in inputs]
        """The number of channels of each input after the activation."""
        super().__init__((outputs, sum(self.parts), 1, 1), 0, **options)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.finish(self.convolve(self.activate(*inputs)))

    def activate(self, *inputs: Tensor) -> Tensor:
        """The concatenated inputs, after concat-ELU if `activation`: the input of the 1×1 convolution."""
        if self.activation:
            return concat_elu(*inputs)
        return torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0]


class Dropout(nn.Module):
    """Dropout in training mode; the identity in evaluation mode."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.rate) if self.training and self.rate > 0 else x
