"""Tests of the functions of integers on which integer heads rest."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar_heads import fixed_point
from auxar_heads.fixed_point import LOG_BITS, POWER_BITS

ONE = 2.0**LOG_BITS
FUNCTIONS = {
    "power": (
        lambda x: fixed_point.power(x).double() / 2.0**POWER_BITS,
        lambda x: torch.exp2(-x / ONE),
        (0, 40 << LOG_BITS),
        6e-8,
        -1,
    ),
    "logarithm": (lambda x: fixed_point.logarithm(x).double() / ONE, torch.log2, (1, 2**31 - 1), 3e-7, 1),
    "softplus": (
        lambda x: fixed_point.softplus(x).double() / ONE,
        lambda x: torch.log2(1 + torch.exp2(-x / ONE)),
        (-(100 << LOG_BITS), 100 << LOG_BITS),
        4e-7,
        -1,
    ),
    "tanh": (
        lambda x: fixed_point.tanh(x, 20).double() / 2.0**20,
        lambda x: torch.tanh(x / 2.0**20),
        (-(20 << 20), 20 << 20),
        3e-6,
        1,
    ),
    "natural_to_base_2": (
        lambda x: fixed_point.natural_to_base_2(x, 20).double() / ONE,
        lambda x: x / 2.0**20 * 1.4426950408889634,
        (-(2**30), 2**30),
        3e-6,
        1,
    ),
}
"""Each function with its counterpart in floating point, its range, its largest error, and the sign of its slope."""


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_functions_are_near_their_counterparts_and_monotone(name, data):
    function, counterpart, (low, high), error, slope = FUNCTIONS[name]
    values = st.lists(st.integers(low, high), min_size=1, max_size=20)
    x = torch.tensor(sorted({*data.draw(values), low, high}))
    # Neighbors of each value are also compared, because the tables are linear between their entries.
    x = torch.cat([x, (x + 1).clamp(max=high)]).sort().values
    found = function(x)
    assert bool((found.diff() * slope >= 0).all())
    assert float((found - counterpart(x.double())).abs().max()) <= error


def test_powers_and_logarithms_of_powers_of_two_are_exact():
    whole = torch.arange(31)
    assert fixed_point.power(whole << LOG_BITS).tolist() == [2**30 >> k for k in range(31)]
    assert fixed_point.logarithm(2**whole).tolist() == [k << LOG_BITS for k in range(31)]
    assert fixed_point.softplus(torch.tensor(0)) == 1 << LOG_BITS


def test_tables_are_those_of_every_machine():
    addresses, tables = fixed_point.native()
    assert [addresses.powers, addresses.logarithms] == [table.data_ptr() for table in tables[:2]]
    values = [torch.cat([each, each[-1:]]) for each in (table & 0xFFFFFFFF for table in tables)]
    assert all(torch.equal(table >> 32, each.diff()) for table, each in zip(tables, values, strict=True))
    digest = hashlib.sha256(b"".join(each.numpy().astype("<i8").tobytes() for each in values)).hexdigest()
    assert digest == "66d7489d2defe21034ae7c6dd08425d99178523770889c4c948334ac1e8d0378"
