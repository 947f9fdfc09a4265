"""Marks of test cases."""

from collections.abc import Iterable
from typing import Any

import pytest


def with_slow(names: Iterable[Any], slow: Any) -> list[Any]:
    """Returns test cases, of which one is slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if name == slow else name for name in names]
