"""Functions of integers that act on every pixel independently, as exact counterparts of the networks' functions.

An integer q with exponent e stands for the number q · 2⁻ᵉ. Integers are stored in float64. A division by a power of two
rounds to the nearest integer, halves upwards. Results are limited to [−bound, bound].

Functions change their own new tensors in place: new memory takes longer than the arithmetic.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

TABLE_BITS = 15
"""Bits after the binary point of the tables of the sigmoid and of tanh."""
EXACT = 2**53
"""Integers below this are exact in float64."""


def _shift(x: Tensor, by: int, bound: int) -> Tensor:
    """Replaces x by x · 2⁻ᵇʸ, rounded to the nearest integer, halves upwards, and limited to [−bound, bound]."""
    x.mul_(2.0**-by)
    if by > 0:
        x.add_(0.5).floor_()
    return x.clamp_(-bound, bound)


class Lookup(nn.Module):
    """A function of integers given by a table of its values at 0, 1, 2, …. Its last value continues after the table."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        if table.dim() != 1 or not len(table) or table.double().abs().max() > 2**24:
            raise ValueError(f"a table has the shape {tuple(table.shape)}, or numbers that are not exact in float32")
        self.table = nn.Parameter(table.double(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return _entries(self.table, x.clamp(0, len(self.table) - 1))

    def odd(self, x: Tensor, at_zero: int = 0) -> Tensor:
        """The function that is given by the table from 0 on, and by `2 · at_zero - f(-x)` below."""
        last = len(self.table) - 1
        table = torch.cat([(2 * at_zero - self.table[1:]).flip(0), self.table])
        return _entries(table, x.clamp(-last, last).add_(last))


def _entries(table: Tensor, index: Tensor) -> Tensor:
    """The entries of a table at integers that are stored in float64."""
    # With indices of 32 bits, `index_select` is several times faster than `table[index]`.
    return table.index_select(0, index.to(torch.int32).flatten()).view(index.shape)


class IntegerFunction(nn.Module, abc.ABC):
    """A function of integers that acts on every pixel independently, with channels in dimension 1.

    Results are multiplied by 2⁻ˢʰⁱᶠᵗ, rounded and limited to ±`bound`, if the function has these constants.
    """

    kind: ClassVar[str]
    """The name of the function in files and in the native engine."""
    constants: ClassVar[tuple[str, ...]] = ()
    """The names of the arguments that the function needs."""
    by_kind: ClassVar[dict[str, type[IntegerFunction]]] = {}
    """All functions by kind."""
    lookup: Lookup
    """The table of its values."""
    multiplier: nn.Parameter
    """An integer for each channel."""

    def __init_subclass__(cls) -> None:
        cls.by_kind[cls.kind] = cls

    def __init__(
        self,
        *,
        lookup: Lookup | None = None,
        multiplier: Tensor | None = None,
        weights: Sequence[int] = (),
        constant: int = 0,
        shift: int = 0,
        bound: int = 0,
    ) -> None:
        super().__init__()
        if lookup is not None:
            self.lookup = lookup
        if multiplier is not None:
            self.multiplier = nn.Parameter(multiplier.double(), requires_grad=False)
        self.weights = tuple(weights)
        self.constant = constant
        self.shift = shift
        self.bound = bound

    def channels(self, *inputs: int) -> int:
        """The number of channels of the result, given those of the inputs.

        Raises `ValueError` for inputs with different numbers of channels, other than one.
        """
        if any(each not in (1, max(inputs)) for each in inputs):
            raise ValueError(f"values of {', '.join(map(str, inputs))} channels are combined")
        return max(inputs)

    @abc.abstractmethod
    def bound_of(self, *inputs: Tensor) -> Tensor:
        """The largest magnitude of the results, given those of the inputs, for each channel or for all channels.

        Raises `OverflowError` if a number in between reaches 2⁵³.
        """


class Requantize(IntegerFunction):
    """Converts sums of products to integers with a power-of-two step: x · multiplier · 2⁻ˢʰⁱᶠᵗ, rounded and limited."""

    kind = "requantize"
    constants = ("multiplier", "shift", "bound")

    def forward(self, x: Tensor) -> Tensor:
        multiplier = self.multiplier.view(-1, *(1 for _ in x.shape[2:]))
        return _shift(x * multiplier, self.shift, self.bound)

    def bound_of(self, *inputs: Tensor) -> Tensor:
        if len(inputs[0]) != len(self.multiplier):
            raise ValueError(f"{len(self.multiplier)} multipliers for {len(inputs[0])} channels")
        return limited(inputs[0] * self.multiplier.abs(), self.shift, self.bound)


class IntegerSum(IntegerFunction):
    """A weighted sum with integer weights and an integer constant, times 2⁻ˢʰⁱᶠᵗ."""

    kind = "integer_sum"
    constants = ("weights", "constant", "shift", "bound")

    def forward(self, *inputs: Tensor) -> Tensor:
        total = inputs[0] * self.weights[0] + self.constant
        for x, weight in zip(inputs[1:], self.weights[1:], strict=True):
            total = total + x * weight  # not in place: a value of one channel may come first
        return _shift(total, self.shift, self.bound)

    def bound_of(self, *inputs: Tensor) -> Tensor:
        total = sum(x.max() * abs(weight) for x, weight in zip(inputs, self.weights, strict=True)) + abs(self.constant)
        return limited(torch.as_tensor(total), self.shift, self.bound)


class IntegerProduct(IntegerFunction):
    """The product of two values, times 2⁻ˢʰⁱᶠᵗ."""

    kind = "integer_product"
    constants = ("shift", "bound")

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return _shift(x * y, self.shift, self.bound)

    def bound_of(self, *inputs: Tensor) -> Tensor:
        return limited(inputs[0].max() * inputs[1].max(), self.shift, self.bound)


class IntegerConcat(IntegerFunction):
    """Values with the same exponent, concatenated along the channels."""

    kind = "integer_concat"

    def channels(self, *inputs: int) -> int:
        return sum(inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=1)

    def bound_of(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs)


class IntegerReLU(IntegerFunction):
    """max(x, 0)."""

    kind = "relu"

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_min(0)

    def bound_of(self, *inputs: Tensor) -> Tensor:
        return inputs[0]


class IntegerELU(IntegerFunction):
    """elu(x) with the exponent of x. The table has −elu at 0, −1, −2, …."""

    kind = "integer_elu"
    constants = ("lookup",)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sub(x.clamp_min(0), self.lookup(-x))

    def bound_of(self, *inputs: Tensor) -> Tensor:
        return torch.maximum(inputs[0].max(), self.lookup.table.abs().max())


class IntegerConcatELU(IntegerELU):
    """elu(x) and elu(−x), concatenated along the channels, with the exponent of x."""

    kind = "integer_concat_elu"

    def channels(self, *inputs: int) -> int:
        return 2 * inputs[0]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([x, -x], dim=1))


class IntegerSigmoid(IntegerFunction):
    """The sigmoid with `TABLE_BITS` bits after the binary point. The table has its values at 0, 1, 2, …."""

    kind = "integer_sigmoid"
    constants: ClassVar[tuple[str, ...]] = ("lookup",)

    def forward(self, x: Tensor) -> Tensor:
        return self.lookup.odd(x, at_zero=2 ** (TABLE_BITS - 1))

    def bound_of(self, *inputs: Tensor) -> Tensor:
        largest: Tensor = 2**TABLE_BITS + self.lookup.table.abs().max()
        return largest


class IntegerTanh(IntegerFunction):
    """tanh with `TABLE_BITS` bits after the binary point. The table has its values at 0, 1, 2, …."""

    kind = "integer_tanh"
    constants = ("lookup",)

    def forward(self, x: Tensor) -> Tensor:
        return self.lookup.odd(x)

    def bound_of(self, *inputs: Tensor) -> Tensor:
        return self.lookup.table.abs().max()


class IntegerGate(IntegerSigmoid):
    """The product of the first half of the channels with the sigmoid of the second half, times 2⁻ˢʰⁱᶠᵗ."""

    kind = "integer_gate"
    constants = ("lookup", "shift", "bound")

    def channels(self, *inputs: int) -> int:
        return inputs[0] // 2

    def forward(self, x: Tensor) -> Tensor:
        value, control = x.chunk(2, dim=1)
        return _shift(value * super().forward(control), self.shift, self.bound)

    def bound_of(self, *inputs: Tensor) -> Tensor:
        return limited(inputs[0].max() * super().bound_of(), self.shift, self.bound)


def limited(bound: Tensor, shift: int, limit: int) -> Tensor:
    """The bound of numbers up to `bound` after they are shifted, rounded and limited to ±`limit`.

    Raises `OverflowError` if they are not shifted exactly in float64.
    """
    largest = float(bound.max()) * 2.0 ** max(-shift, 0)
    if not largest + 2.0 ** max(shift, 0) < EXACT:
        raise OverflowError(f"a number can reach {largest:.3g}, and only numbers below 2⁵³ are exact")
    return torch.tensor(float(limit), dtype=torch.float64)


def elu_table(exponent: int, bound: int) -> Tensor:
    """−elu at 0, −1, … −bound for integers with this exponent: float64, up to the first value that stays the same."""
    return _table(lambda x: -torch.expm1(-x), exponent, bound, exponent)


def sigmoid_table(exponent: int, bound: int) -> Tensor:
    """The sigmoid at 0, 1, … bound for integers with this exponent, times 2 to the power `TABLE_BITS`: float64."""
    return _table(torch.sigmoid, exponent, bound, TABLE_BITS)


def tanh_table(exponent: int, bound: int) -> Tensor:
    """tanh at 0, 1, … bound for integers with this exponent, times 2 to the power `TABLE_BITS`: float64."""
    return _table(torch.tanh, exponent, bound, TABLE_BITS)


def _table(function: Callable[[Tensor], Tensor], exponent: int, bound: int, bits: int) -> Tensor:
    """The function with `bits` bits after the binary point, up to the first value that equals all values after it."""
    x = torch.arange(bound + 1, dtype=torch.float64) * 2.0**-exponent
    table = torch.round(function(x) * 2.0**bits)
    changes = (table.diff() != 0).nonzero()
    return table[: 2 + int(changes[-1])] if len(changes) else table[:1]


def exponent_of(largest: float, bound: int) -> int:
    """The largest exponent, at most 30, for which all numbers up to `largest` have integers up to `bound`."""
    return 30 if largest <= bound * 2.0**-30 else min(30, math.floor(math.log2(bound / largest)))
