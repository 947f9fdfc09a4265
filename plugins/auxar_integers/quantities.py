"""Values of integer graphs, sums of layers that are not rounded yet, and the integer weights of these layers."""

import math

import attrs
import torch
from torch import Tensor

from auxar_layers.convolutions import Convolution
from auxar_layers.integer_convolutions import IntegerLayer, integer_layer, largest_sums
from auxar_layers.integer_functions import EXACT

MULTIPLIER_BITS = 24
"""Bits of the largest multiplier of a layer, unless products with it would exceed 2⁵³."""
SUMMED = 512
"""The number of weights of an output whose products with values of 16 bits add up in 32 bits, which is fastest."""
LARGEST_TOTAL = 2**16 - 1
"""The largest sum of the magnitudes of `SUMMED` weights of an output with which they do."""


class NoIntegersError(Exception):
    """Raised if a network has a layer or an operation without an integer counterpart. The message names it."""


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
    direction = layer.dense(layer.masked(layer.direction)).detach().cpu().double()
    rows = direction.movedim(layer.outputs_dim, 0).flatten(1)
    norms = torch.tensor([math.sqrt(math.fsum(row)) for row in (rows * rows).tolist()], dtype=torch.float64)
    return direction * layer.by_output(layer.gain.detach().cpu().double() / norms)


def in_integers(found: Sum, exponent: int, weight_bound: int) -> tuple[list[IntegerLayer], Tensor, int]:
    """The layers of a sum with integer weights up to `weight_bound`, and the multiplier and the shift that follow them.

    `multiplier` · 2^-(exponent + shift) is the step of each channel. Raises `NoIntegersError` if weights are not
    finite, or if sums would not be exact.
    """
    name = found.terms[0].name
    weights = [_exact_weight(term.layer) * _along_inputs(term, "step") for term in found.terms]
    magnitudes = [
        weight.abs().movedim(term.layer.outputs_dim, 0).flatten(1)
        for term, weight in zip(found.terms, weights, strict=True)
    ]
    finest = torch.stack([_finest(each, weight_bound) for each in magnitudes]).amax(0)
    bias = torch.stack([term.layer.bias.detach().cpu().double() for term in found.terms])
    if not bool(finest.isfinite().all() and bias.isfinite().all()):
        raise NoIntegersError(f"weights of the layer {name} are not finite, or all 0 for an output")
    bits_of_largest = math.ceil(math.log2(max(float(finest.max()), 2.0**-60)))
    for bits in range(MULTIPLIER_BITS, -1, -1):
        shift = max(0, bits - bits_of_largest - exponent)
        multiplier = torch.ceil(finest * 2.0 ** (exponent + shift)).clamp_min(1)
        steps = multiplier * 2.0 ** -(exponent + shift)
        layers = [
            integer_layer(term.layer, torch.round(weight / term.layer.by_output(steps)), torch.round(own / steps))
            for term, weight, own in zip(found.terms, weights, bias, strict=True)
        ]
        bounds = [_along_inputs(term, "bound").flatten() for term in found.terms]
        sums = torch.stack([largest_sums(*each) for each in zip(layers, bounds, strict=True)]).sum(0)
        if float((sums * multiplier).max()) + 2.0**shift < EXACT:
            return layers, multiplier, shift
    raise NoIntegersError(f"sums of the layer {name} exceed 2⁵³")


def _finest(magnitudes: Tensor, bound: int) -> Tensor:
    """The smallest step of each output whose weights, (outputs, n), meet `bound` and `LARGEST_TOTAL`."""
    count = min(SUMMED, magnitudes.shape[1])
    # Sums without rounding do not depend on the order. Each weight may later be rounded up by half a step.
    totals = torch.tensor(list(map(math.fsum, magnitudes.topk(count, dim=1).values.tolist())), dtype=torch.float64)
    return torch.maximum(magnitudes.amax(1) / bound, totals / (LARGEST_TOTAL - count / 2))


def _along_inputs(term: Term, what: str) -> Tensor:
    """The step or the bound of each input channel of a term, in the shape that broadcasts to its weight."""
    values = [torch.full((each.channels,), getattr(each, what), dtype=torch.float64) for each in term.inputs]
    return torch.cat(values).view((-1, 1, 1, 1) if term.layer.outputs_dim == 1 else (1, -1, 1, 1))
