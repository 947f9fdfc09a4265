"""Logarithms, powers and related functions of integers, whose results are the same on every machine.

A number x with `LOG_BITS` bits after the binary point is the integer x · 2²⁴. Functions are given by tables, between
whose entries they are linear, so they are monotone. The tables are computed with Python's integers, which are exact.
"""

import ctypes
import functools
import math

import torch
from torch import Tensor

MOST_LEVELS = 2**16
"""Maximum number of levels of heads with integer frequencies. Distances of levels have to fit into 64 bits."""
LOG_BITS = 24
"""Bits after the binary point of logarithms (to base 2)."""
POWER_BITS = 30
"""Bits after the binary point of powers of two."""
TANH_BITS = 20
"""Bits after the binary point of hyperbolic tangents."""
LOG2_E = 0x171547652B82FE1777D0FFDA0D23A7D11D6AEF551BAD2B4B1
"""log₂ e with `_DIGITS` bits after the binary point."""
_DIGITS = 192
ROUNDED_LOG2_E = LOG2_E >> (_DIGITS - POWER_BITS)
"""log₂ e with `POWER_BITS` bits, rounded down."""
_NODE_BITS = 10
"""Base-2 logarithm of the number of table entries for each unit of powers and of logarithms."""
_SLOPE_BITS = 8
"""Base-2 logarithm of the number of table entries for each unit of `softplus` and `tanh`."""
_WIDEST_SOFTPLUS = 27
_WIDEST_TANH = 12


def power(x: Tensor) -> Tensor:
    """2⁻ˣ with `POWER_BITS` bits after the binary point, for x ≥ 0 with `LOG_BITS` bits: int64. It never increases."""
    whole, rest = x >> LOG_BITS, x & (2**LOG_BITS - 1)
    return _interpolated(_powers(), rest, LOG_BITS - _NODE_BITS, x.device) >> whole.clamp(max=POWER_BITS + 1)


def logarithm(x: Tensor) -> Tensor:
    """log₂ x with `LOG_BITS` bits after the binary point, for integers 1 ≤ x < 2³¹: int64. It does not decrease."""
    whole = torch.zeros_like(x)
    for step in (16, 8, 4, 2, 1):
        whole = torch.where((x >> (whole + step)) > 0, whole + step, whole)
    # The digits after the leading one, with 30 bits.
    rest = (x << (30 - whole)) - 2**30
    return (whole << LOG_BITS) + _interpolated(_logarithms(), rest, 30 - _NODE_BITS, x.device)


def softplus(x: Tensor) -> Tensor:
    """log₂(1 + 2⁻ˣ), the bits of the logistic function, for x with `LOG_BITS` bits: int64. It does not increase."""
    size = x.abs()
    inside = size.clamp(max=_WIDEST_SOFTPLUS << LOG_BITS)
    return (-x).clamp(min=0) + _interpolated(_softplus(), inside, LOG_BITS - _SLOPE_BITS, x.device)


def tanh(x: Tensor, bits: int) -> Tensor:
    """tanh x with `TANH_BITS` bits after the binary point, for x with `bits` ≥ 8 bits: int64."""
    found = _interpolated(_tanh(), x.abs().clamp(max=_WIDEST_TANH << bits), bits - _SLOPE_BITS, x.device)
    return torch.where(x < 0, -found, found)


def natural_to_base_2(x: Tensor, bits: int) -> Tensor:
    """x · log₂ e with `LOG_BITS` bits after the binary point, for |x| < 2³² with `bits` bits, rounded down."""
    return (x * ROUNDED_LOG2_E) >> (POWER_BITS + bits - LOG_BITS)


def _interpolated(table: tuple[int, ...], x: Tensor, bits: int, device: torch.device) -> Tensor:
    """A function at x, given by its values at the multiples of 2ᵇⁱᵗˢ, rounded down."""
    values = _on(table, str(device))
    # With indices of 32 bits, `index_select` is several times faster than `values[index]`.
    index, rest = (x >> bits).to(torch.int32).flatten(), x & (2**bits - 1)
    start, end = (values.index_select(0, each).view(x.shape) for each in (index, index + 1))
    found: Tensor = start + (((end - start) * rest) >> bits)
    return found


@functools.lru_cache
def _on(table: tuple[int, ...], device: str) -> Tensor:
    return torch.tensor((*table, table[-1]), dtype=torch.int64, device=device)


class FixedPoint(ctypes.Structure):
    """The structure of the same name in fixed_point.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("powers", "logarithms", "softplus", "tanh")),
        ("log2_e", ctypes.c_int64),
    ]


@functools.cache
def native() -> tuple[FixedPoint, list[Tensor]]:
    """The addresses of all tables, in the form of fixed_point.h, and the tables, which stay in memory."""
    values = [_on(table(), "cpu") for table in (_powers, _logarithms, _softplus, _tanh)]
    tables = [each[:-1] + (each.diff() << 32) for each in values]
    return FixedPoint(*(table.data_ptr() for table in tables), ROUNDED_LOG2_E), tables


# Tables ---------------------------------------------------------------------------------------------------------------


def _rounded(x: int, bits: int) -> int:
    """Rounds a number with `_DIGITS` bits after the binary point to `bits` bits."""
    return (x + (1 << (_DIGITS - bits - 1))) >> (_DIGITS - bits)


@functools.cache
def _roots() -> tuple[int, ...]:
    """2 to the powers −1/2, −1/4, … −2⁻¹⁶⁰."""
    found = [1 << _DIGITS - 1]
    for _ in range(160):
        found.append(math.isqrt(found[-1] << _DIGITS))
    return tuple(found[1:])


def exact_power(x: int) -> int:
    """2⁻ˣ for x ≥ 0; both have `_DIGITS` bits after the binary point."""
    found = 1 << _DIGITS
    for number, root in enumerate(_roots()):
        if x >> (_DIGITS - 1 - number) & 1:
            found = found * root >> _DIGITS
    return found >> (x >> _DIGITS)


def exact_logarithm(x: int) -> int:
    """log₂ x for 1 ≤ x < 2, rounded down to 64 bits; both have `_DIGITS` bits after the binary point."""
    found = 0
    for bit in range(1, 65):
        x = x * x >> _DIGITS
        if x >> (_DIGITS + 1):
            x >>= 1
            found |= 1 << (_DIGITS - bit)
    return found


@functools.cache
def _powers() -> tuple[int, ...]:
    return tuple(_rounded(exact_power(k << (_DIGITS - _NODE_BITS)), POWER_BITS) for k in range(2**_NODE_BITS + 1))


@functools.cache
def _logarithms() -> tuple[int, ...]:
    one = 1 << _DIGITS
    inner = (_rounded(exact_logarithm(one + (k << (_DIGITS - _NODE_BITS))), LOG_BITS) for k in range(2**_NODE_BITS))
    return (*inner, 1 << LOG_BITS)


@functools.cache
def _softplus() -> tuple[int, ...]:
    one = 1 << _DIGITS
    powers = (exact_power(k << (_DIGITS - _SLOPE_BITS)) for k in range(1, (_WIDEST_SOFTPLUS << _SLOPE_BITS) + 1))
    return (1 << LOG_BITS, *(_rounded(exact_logarithm(one + power), LOG_BITS) for power in powers))


@functools.cache
def _tanh() -> tuple[int, ...]:
    one = 1 << _DIGITS
    powers = (exact_power(2 * k * LOG2_E >> _SLOPE_BITS) for k in range((_WIDEST_TANH << _SLOPE_BITS) + 1))
    return tuple(_rounded(((one - power) << _DIGITS) // (one + power), TANH_BITS) for power in powers)
