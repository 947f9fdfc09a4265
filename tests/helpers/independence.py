"""Checks that random numbers are independent of each other."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

SIGMAS = 5.5
"""Maximum correlation in standard deviations of the correlation of independent numbers."""


def assert_independent(numbers: Mapping[Any, Any]) -> None:
    """Asserts that sequences of random numbers, by name, all differ and do not correlate.

    They must have one length n. The correlation of independent sequences has a standard deviation of 1 / √n.
    """
    values = np.stack([np.asarray(each, dtype=np.float64).ravel() for each in numbers.values()])
    assert (values.std(1) > 0).all(), "numbers are all the same"
    found = np.corrcoef(values) * np.sqrt(values.shape[1])
    for (row, first), (column, second) in itertools.combinations(enumerate(numbers), 2):
        assert abs(found[row, column]) < SIGMAS, (first, second)
