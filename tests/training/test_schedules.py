"""Tests of learning rates against their formulas."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.recipe import TrainingConfig
from auxar.training.schedules import learning_rates, warn_of_warmup

FRACTIONS = st.floats(0, 1)
SCHEDULES = st.one_of(
    st.fixed_dictionaries({"schedule": st.just("constant")}),
    st.fixed_dictionaries({"decay": st.floats(0.1, 1)}),
    st.fixed_dictionaries({"schedule": st.just("cosine"), "final_fraction": FRACTIONS}),
)


def closed_form(keys: dict[str, Any], warmup: int, total: int, step: int) -> float:
    """The learning rate of a step, counted from 0, as a fraction of the full rate."""
    after = step - warmup
    if after < 0:
        return (step + 1) / (warmup + 1)
    if keys.get("schedule") == "cosine":
        lowest: float = keys["final_fraction"]
        return lowest + (1 - lowest) * (1 + math.cos(math.pi * after / (total - warmup))) / 2
    return float(keys.get("decay", 1.0) ** after)


@settings(deadline=None, max_examples=40)
@given(SCHEDULES, st.floats(1e-6, 10), st.integers(0, 40), st.integers(0, 60))
def test_rates_are_their_closed_form(keys, rate, warmup, total):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = TrainingConfig(steps=total, learning_rate=rate, warmup=warmup, **keys)
        rates = list(itertools.islice(learning_rates(config, total), total))
    expected = [rate * closed_form(keys, warmup, total, step) for step in range(total)]
    assert rates == pytest.approx(expected, rel=1e-9, abs=1e-15 * rate)


def test_a_warmup_that_training_does_not_complete_is_told(caplog):
    for total in (0, 9, 10):
        warn_of_warmup("prior", TrainingConfig(epochs=1, warmup=9, learning_rate=0.02), total)
    (record,) = caplog.records
    assert record.getMessage() == (
        "factor prior: training has 9 steps, so with training.warmup = 9 the learning rate only rises to 0.018 and "
        "does not reach 0.02; set a shorter training.warmup"
    )
