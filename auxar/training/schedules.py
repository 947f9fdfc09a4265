"""Learning rates of training steps, as PyTorch's schedulers compute them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LinearLR, LRScheduler

from auxar.recipe import TrainingConfig

logger = logging.getLogger("auxar")


def learning_rates(config: TrainingConfig, total: int) -> Iterator[float]:
    """Yields the learning rates of the steps of a training of `total` steps, from the first step on.

    In `warmup` steps the rate rises linearly, and the schedule begins at the step after them. The iterator does not end
    after `total` steps.

    The rates depend only on the arguments, but PyTorch computes each rate from the one before. A training that resumes
    therefore skips the rates of earlier steps, at 3 µs per step, and gets the same rates to the last bit.
    """
    rate, warmup = config.learning_rate, config.warmup
    if warmup:
        rising = _scheduled(rate, lambda optimizer: LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup))
        yield from itertools.islice(rising, warmup)
    if config.schedule == "exponential":
        yield from _scheduled(rate, lambda optimizer: ExponentialLR(optimizer, config.decay))
    elif config.schedule == "cosine":
        steps, lowest = max(total - warmup, 1), rate * config.final_fraction
        yield from _scheduled(rate, lambda optimizer: CosineAnnealingLR(optimizer, steps, lowest))
    else:
        yield from itertools.repeat(rate)


def warn_of_warmup(factor: str, config: TrainingConfig, total: int) -> None:
    """Logs a warning if a training of `total` steps ends before the learning rate has reached its full value."""
    if 0 < total <= config.warmup:
        logger.warning(
            "factor %s: training has %d steps, so with training.warmup = %d the learning rate only rises to %.6g and "
            "does not reach %.6g; set a shorter training.warmup",
            factor,
            total,
            config.warmup,
            config.learning_rate * total / (config.warmup + 1),
            config.learning_rate,
        )


def _scheduled(rate: float, make: Callable[[torch.optim.Optimizer], LRScheduler]) -> Iterator[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    scheduler = make(optimizer)
    # The parameter has no gradient, so this step changes nothing. Schedulers warn if it is left out.
    optimizer.step()
    while True:
        yield float(scheduler.get_last_lr()[0])
        scheduler.step()
