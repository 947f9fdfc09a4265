"""Fixtures of the tests of the contract checks."""

from collections.abc import Iterator

import pytest
from helpers.contract import checking_shipped_heads_once

from auxar.testing import distributions, heads, laws, samplers


@pytest.fixture(autouse=True, scope="module")
def shipped_heads_are_checked_once() -> Iterator[None]:
    with checking_shipped_heads_once():
        yield


@pytest.fixture
def first_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends a check at the first example that breaks a law, without the search for a smaller one."""
    monkeypatch.setattr(laws, "PHASES", laws.PHASES[:-1])


@pytest.fixture
def one_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches try one example only, for faults that a check finds after the search."""
    for module in (distributions, heads, samplers):
        monkeypatch.setattr(module, "EXAMPLES", 1)
