"""Values of integer graphs, sums of layers that are not rounded yet, and the weights of these layers in float64."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from auxar_layers.convolutions import Convolution


@attrs.frozen
class Quantity:
    """A value of the integer graph: integers of magnitude up to `bound` that stand for multiples of `step`."""

    name: str
    step: float
    bound: int
    channels: int

    @property
    def exponent(self) -> int:
        """The exponent e of a power-of-two step 2⁻ᵉ."""
        mantissa, exponent = math.frexp(self.step)
        assert mantissa == 0.5
        return 1 - exponent


@attrs.frozen
class Term:
    """A layer of a sum, with its inputs."""

    name: str
    layer: Convolution
    inputs: tuple[Quantity, ...]
    sizes: tuple[int, ...]
    """Further arguments of the layer: the height and width of an upsampling layer's output."""


@attrs.frozen
class Sum:
    """A sum of layers that is not yet rounded."""

    terms: tuple[Term, ...]


def _exact_weight(layer: Convolution) -> Tensor:
    """The weight of a layer in float64. Where it is normalized, it is gain · direction / |direction|.

    Squares of float32 values and their sums are computed exactly, so the result does not depend on the order of sums.
    """
    if layer.direction is None or layer.gain is None:
        return layer.weight().detach().cpu().double()
    direction = layer.masked(layer.direction).detach().cpu().double()
    rows = direction.movedim(layer.outputs_dim, 0).flatten(1)
    norms = torch.tensor([math.sqrt(math.fsum(row)) for row in (rows * rows).tolist()], dtype=torch.float64)
    return direction * layer.by_output(layer.gain.detach().cpu().double() / norms)


def scaled_weight(term: Term) -> Tensor:
    """The weight of a term in float64, multiplied by the steps of its inputs."""
    weight = _exact_weight(term.layer)
    steps = torch.cat([torch.full((each.channels,), each.step, dtype=torch.float64) for each in term.inputs])
    return weight * (steps.view(-1, 1, 1, 1) if term.layer.outputs_dim == 1 else steps.view(1, -1, 1, 1))


def input_bounds(term: Term) -> Tensor:
    """The largest magnitude of each input channel."""
    return torch.cat([torch.full((each.channels,), float(each.bound), dtype=torch.float64) for each in term.inputs])


def by_output(term: Term, weight: Tensor) -> Tensor:
    """A weight with outputs in dimension 0."""
    return weight.transpose(0, 1) if term.layer.outputs_dim == 1 else weight


def as_weight(term: Term, steps: Tensor) -> Tensor:
    """One value for each output channel, in the shape that broadcasts to the layer's weight."""
    return steps.view(1, -1, 1, 1) if term.layer.outputs_dim == 1 else steps.view(-1, 1, 1, 1)
