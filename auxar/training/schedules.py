"""The optimizer of a factor, and learning rates of training steps: a warmup, and then a schedule.

Components of plugins define optimizers and schedules.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from torch.optim import Optimizer

from auxar.errors import UserError, logger, one_line
from auxar.model import Factor
from auxar.recipe import ComponentChoice
from auxar.recipe.component_choice import takes_steps


class Schedule(ABC):
    """The change of the learning rate over the steps after the warmup."""

    @abstractmethod
    def rates(self, rate: float, steps: int) -> Iterator[float]:
        """Yields the learning rates of `steps` steps, from the first step after the warmup on.

        `rate` is the learning rate of the optimizer, or of one of its parameter groups. The rates may depend only on
        the arguments and the options. Training that resumes skips the rates of earlier steps.
        """


def make_optimizer(factor: Factor, choice: ComponentChoice, steps: int) -> Optimizer:
    """Builds the optimizer of a factor for a training of `steps` steps.

    Raises `UserError` if it refuses its options.
    """
    planned = {"steps": steps} if choice.component is not None and takes_steps(choice.component.build) else {}
    try:
        return choice.build_as(Optimizer, factor, **planned)
    except (TypeError, ValueError) as error:  # PyTorch's optimizers check their options.
        raise UserError(f"optimizer '{choice.name}' cannot be built: {one_line(str(error))}") from error


def learning_rates(schedule: Schedule, warmup: int, bases: Sequence[float], total: int) -> Iterator[tuple[float, ...]]:
    """Yields the learning rates of each of `total` training steps: a rate for each parameter group.

    `bases` are the rates of the groups before the warmup and the schedule. The rates rise linearly in the first
    `warmup` steps, and follow the schedule afterwards. Raises `UserError` if the schedule ends before training.
    """
    yield from zip(*(_rates(schedule, warmup, base, total) for base in bases), strict=True)
    raise UserError("training.schedule: the schedule yields fewer rates than training has steps")


def _rates(schedule: Schedule, warmup: int, base: float, total: int) -> Iterator[float]:
    start = 1 / (warmup + 1)
    rate = base * start
    for step in range(warmup):
        # Each rate is computed from the previous rate, so it has the same bits as in PyTorch's LinearLR.
        rate = rate if step == 0 else rate * (1 + (1 - start) / (warmup * start + (step - 1) * (1 - start)))
        yield rate
    yield from schedule.rates(base, max(total - warmup, 1))


def warn_of_warmup(factor: str, warmup: int, rate: float, total: int) -> None:
    """Logs a warning if a training of `total` steps ends before the learning rate has reached its full value `rate`."""
    if 0 < total <= warmup:
        logger.warning(
            "factor %s: training has %d steps, so with training.warmup = %d the learning rate only rises to %.6g and "
            "does not reach %.6g; set a shorter training.warmup",
            *(factor, total, warmup, rate * total / (warmup + 1), rate),
        )
