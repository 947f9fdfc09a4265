"""Tests of learning rates against PyTorch's schedulers."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LinearLR

from auxar import Schedule, UserError
from auxar.training.schedules import learning_rates, warn_of_warmup
from auxar_optimizers.schedules import Constant, Cosine, Exponential

SCHEDULES = st.one_of(
    st.just(Constant()), st.builds(Exponential, st.floats(0.1, 1)), st.builds(Cosine, st.floats(0, 1))
)


def of_pytorch(schedule: Schedule, warmup: int, rate: float, total: int) -> Iterator[float]:
    """The learning rates of PyTorch's schedulers."""
    schedulers: list[Any] = [LinearLR(_optimizer(rate), 1 / (warmup + 1), total_iters=warmup)] if warmup else []
    if isinstance(schedule, Cosine):
        lowest = rate * schedule.final_fraction
        schedulers.append(CosineAnnealingLR(_optimizer(rate), max(total - warmup, 1), lowest))
    else:
        schedulers.append(ExponentialLR(_optimizer(rate), getattr(schedule, "decay", 1.0)))
    for scheduler, steps in zip(schedulers, [warmup, total][-len(schedulers) :], strict=True):
        scheduler.optimizer.step()
        for _ in range(steps):
            yield float(scheduler.get_last_lr()[0])
            scheduler.step()


def _optimizer(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1)], lr=rate)


@settings(deadline=None, max_examples=60)
@given(SCHEDULES, st.floats(1e-6, 10), st.integers(0, 40), st.integers(1, 60))
def test_rates_are_those_of_pytorch(schedule, rate, warmup, total):
    found = list(itertools.islice(learning_rates(schedule, warmup, [rate, 3 * rate], total), total))
    for group, base in enumerate([rate, 3 * rate]):
        rates = [each[group] for each in found]
        assert rates == list(itertools.islice(of_pytorch(schedule, warmup, base, total), total))


def test_a_schedule_that_ends_before_training_is_told():
    class Short(Schedule):
        def rates(self, rate: float, steps: int) -> Iterator[float]:
            return iter([rate])

    rates = learning_rates(Short(), 0, [0.1], 2)
    assert next(rates) == (0.1,)
    with pytest.raises(UserError, match=r"training\.schedule: the schedule yields fewer rates than training has steps"):
        next(rates)


def test_a_warmup_that_training_does_not_complete_is_told(caplog):
    for total in (0, 9, 10):
        warn_of_warmup("prior", 9, 0.02, total)
    (record,) = caplog.records
    assert record.getMessage() == (
        "factor prior: training has 9 steps, so with training.warmup = 9 the learning rate only rises to 0.018 and "
        "does not reach 0.02; set a shorter training.warmup"
    )
