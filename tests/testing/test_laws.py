"""Tests of the errors of the contract checks, and of the search for the smallest example."""

import pytest
import torch
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.testing import ContractError
from auxar.testing.laws import about, broken, fitting, keeps_state, search


def test_an_error_shows_each_part_of_the_example_on_its_own_line():
    many = torch.zeros(6, 6, dtype=torch.int64)
    many[1] = 7
    many[3, :4] = torch.arange(4)
    with pytest.raises(ContractError) as error:
        broken("range", "too large", few=torch.tensor([[1.5, 2.0]]), many=many, none=torch.zeros(33), spec="2×2")
    assert error.value.law == "range"
    assert str(error.value).split("\n") == [
        "range: too large",
        "  few = [[1.5, 2.0]] (torch.float32)",
        "  many = shape (6, 6) (torch.int64), nonzero elements: (1, 0): 7, (1, 1): 7, (1, 2): 7, (1, 3): 7, (1, 4): 7, "
        "(1, 5): 7, (3, 1): 1, (3, 2): 2 and 1 more",
        "  none = shape (33,) (torch.float32), nonzero elements: none",
        "  spec = 2×2",
    ]


def test_an_exception_of_a_component_breaks_the_law_runs():
    with pytest.raises(ContractError) as error, about("the view", image=torch.tensor([3])):
        raise ZeroDivisionError("never")
    assert str(error.value) == "runs: the view failed with ZeroDivisionError: never\n  image = [3] (torch.int64)"
    with pytest.raises(ContractError) as error, about("the view", seed=4), about("the model", size=2):
        broken("range", "too large", value=3)
    assert error.value.law == "range"
    assert str(error.value) == "range: too large\n  value = 3\n  size = 2\n  seed = 4"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_state_that_all_code_shares_is_restored(enabled):
    def change():
        torch.rand(1)
        torch.set_grad_enabled(not enabled)

    before = torch.get_rng_state()
    with torch.set_grad_enabled(enabled):
        message = f"^state: this code turns gradients {'off' if enabled else 'on'} for all other code"
        with pytest.raises(ContractError, match=message), keeps_state("this code"):
            change()
        assert torch.is_grad_enabled() == enabled
        with keeps_state("this code", random=True):
            torch.rand(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_smallest_example_is_found():
    def check(number):
        if number > 41:
            broken("range", "too large", number=number)

    with pytest.raises(ContractError, match=r"^range: too large\n  number = 42"):
        search(check, 200, number=st.integers(0, 1000))


def test_a_check_that_fails_only_once_is_no_counterexample():
    calls = []

    def check(number):
        calls.append(number)
        if len(calls) == 1:
            broken("range", "too large")

    with pytest.raises(ContractError) as error:
        search(check, 5, number=st.integers(0, 9))
    assert str(error.value) == "determinism: the same input passed the check once and failed it another time"


def test_specs_are_built_in_order_and_named_in_errors():
    def build(size):
        if size == (1, 2):
            raise UserError("too small")
        if size == 5:
            raise KeyError("five")

    assert fitting(build, None, [(1, 2), 3, (4, 4)], "pairs") == [3, (4, 4)]
    for sizes, chosen, message in (
        ([(1, 2)], False, "build accepts none of the default pairs; pass supported ones with pairs=[…]"),
        ([3, (1, 2)], True, "build must accept every spec in the argument `pairs`, but refuses 1 and 2: too small"),
        (
            [3, 5],
            False,
            "for specs that it does not support, build must raise UserError; for 5 it raised KeyError: 'five'",
        ),
    ):
        with pytest.raises(ContractError) as error:
            fitting(build, sizes if chosen else None, sizes, "pairs")
        assert str(error.value) == f"build: {message}"
