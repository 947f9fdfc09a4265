"""Weight-normalized convolutions, causal and ordinary, with data-dependent initialization.

Salimans & Kingma 2016: w = gain · direction / |direction|. The first batch sets gain and bias so that every output
channel has mean 0 and the layer's initial standard deviation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from auxar_layers.functional import concat_elu, dropout

# A channel that hardly varies over the first batch would get an enormous gain, and explode on the next one.
SMALLEST_DEVIATION = 0.05


class NormalizedLayer(nn.Module):
    """What all weight-normalized layers share: parameters, the normalized weight, initialization from data."""

    def __init__(self, shape: Sequence[int], outputs_dim: int, initial_deviation: float) -> None:
        super().__init__()
        outputs = shape[outputs_dim]
        self.direction = nn.Parameter(nn.init.normal_(torch.empty(*shape), std=0.05))
        self.gain = nn.Parameter(torch.full((outputs,), initial_deviation))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.outputs_dim = outputs_dim
        self.initial_deviation = initial_deviation
        self.initializing = False

    def weight(self) -> Tensor:
        """The normalized weight, of the direction's shape."""
        others = [dim for dim in range(self.direction.dim()) if dim != self.outputs_dim]
        shape = [-1 if dim == self.outputs_dim else 1 for dim in range(self.direction.dim())]
        norm = torch.linalg.vector_norm(self.direction, dim=others, keepdim=True)
        found: Tensor = self.direction * (self.gain.view(shape) / norm)
        return found

    def finish(self, output: Tensor) -> Tensor:
        """`output`, after setting gain and bias from it if this is the initializing pass."""
        if not self.initializing:
            return output
        with torch.no_grad():
            deviation, mean = torch.std_mean(output, dim=(0, 2, 3), correction=0)
            factor = self.initial_deviation / deviation.clamp_min(SMALLEST_DEVIATION)
            self.gain.mul_(factor)
            self.bias.sub_(mean).mul_(factor)
            return (output - mean.view(1, -1, 1, 1)) * factor.view(1, -1, 1, 1)


@contextlib.contextmanager
def data_dependent_initialization(network: nn.Module) -> Iterator[None]:
    """Within the block, every weight-normalized layer that runs is initialized from its input."""
    layers = [layer for layer in network.modules() if isinstance(layer, NormalizedLayer)]
    for layer in layers:
        layer.initializing = True
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in layers:
            layer.initializing = False


class CausalConv2d(NormalizedLayer):
    """A convolution whose output at (r, c) reads rows r - above[1] … r - above[0], columns c + columns[0] … c +
    columns[1], zeros outside of the image.

    `above` ≥ 0 and the columns decide what is causal; `taps` lists what is read. With stride 2 the output at (i, j)
    is the one at (2i, 2j), and its size is the input's halved, rounded up.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        above: tuple[int, int],
        columns: tuple[int, int],
        *,
        stride: int = 1,
        initial_deviation: float = 1.0,
    ) -> None:
        self.above = above
        self.columns = columns
        self.stride = stride
        kernel = (above[1] - above[0] + 1, columns[1] - columns[0] + 1)
        super().__init__((outputs, inputs, *kernel), 0, initial_deviation)

    @property
    def taps(self) -> list[tuple[int, int]]:
        """(rows above, columns to the right) that are read, in the order of the weight's last two dimensions."""
        return [
            (row, column)
            for row in range(self.above[1], self.above[0] - 1, -1)
            for column in range(self.columns[0], self.columns[1] + 1)
        ]

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        # `pad` crops no more than there is: an input shifted out of sight is all padding.
        beyond = max(0, self.above[0] - height)
        left, right = max(0, self.columns[0] - width), max(0, -self.columns[1] - width)
        columns = (left - self.columns[0] - right, right + self.columns[1] - left)
        padded = functional.pad(x, (*columns, self.above[1] - beyond, beyond - self.above[0]))
        return self.finish(functional.conv2d(padded, self.weight(), self.bias, stride=self.stride))


class Conv2d(NormalizedLayer):
    """An ordinary 3×3 convolution, zeros outside; with stride 2 the size is halved, rounded up."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, initial_deviation: float = 1.0) -> None:
        self.stride = stride
        super().__init__((outputs, inputs, 3, 3), 0, initial_deviation)

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(functional.conv2d(x, self.weight(), self.bias, stride=self.stride, padding=1))


class UpsamplingConv2d(NormalizedLayer):
    """A transposed convolution of stride `factor`, cut to the size that is asked for.

    The kernel is as high as the stride, so that no row is moved up or down: a stream's rule about rows holds at the
    finer size if it held at the coarser one. `overlap` columns more on either side let neighbors mix.
    """

    def __init__(self, inputs: int, outputs: int, *, factor: int = 2, overlap: tuple[int, int] = (0, 0)) -> None:
        self.factor = factor
        self.overlap = overlap
        super().__init__((inputs, outputs, factor, factor + sum(overlap)), 1, 1.0)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        wide = functional.conv_transpose2d(x, self.weight(), self.bias, stride=self.factor)
        left = self.overlap[0]
        return self.finish(wide[:, :, :height, left : left + width])


class Pointwise(NormalizedLayer):
    """A 1×1 convolution over the channels of one or several inputs, which it takes side by side.

    With `activation`, over concat-ELU of the inputs.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: int, *, activation: bool = False, initial_deviation: float = 1.0
    ) -> None:
        self.inputs = tuple(inputs)
        self.activation = activation
        super().__init__((outputs, sum(inputs) * (2 if activation else 1), 1, 1), 0, initial_deviation)

    def forward(self, *inputs: Tensor) -> Tensor:
        x = self.activate(*inputs)
        return self.finish(functional.conv2d(x, self.weight(), self.bias))

    def activate(self, *inputs: Tensor) -> Tensor:
        """The inputs side by side, as the weight takes them."""
        if self.activation:
            return concat_elu(*inputs)
        return torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0]


class Dropout(nn.Module):
    """Dropout while training; the identity otherwise."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.rate) if self.training and self.rate > 0 else x
