"""The processes that train a factor together, and the division of factors among processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor, nn


@attrs.frozen
class Team:
    """The processes that train a factor together.

    By default, the team consists of all processes of the run, each with a share of every batch. If `alone` is true, it
    consists of this process only.
    """

    accelerator: Accelerator
    alone: bool = False

    @property
    def rank(self) -> int:
        """Rank of this process in the team, from 0."""
        return 0 if self.alone else self.accelerator.process_index

    @property
    def processes(self) -> int:
        """Number of processes in the team."""
        return 1 if self.alone else self.accelerator.num_processes

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        found: torch.device = self.accelerator.device
        return found

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        """Wraps model and optimizer for training with the run's precision. Gradients are averaged over the team."""
        if self.alone:
            # This mode applies the run's precision, but does not average gradients over processes.
            return self.accelerator.prepare_model(model, evaluation_mode=True), optimizer
        found: tuple[nn.Module, Any] = self.accelerator.prepare(model, optimizer)
        return found

    def mean(self, values: Sequence[float]) -> list[float]:
        """The mean of each value over the team. The result is bit-identical in every process."""
        if self.processes == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        found: list[float] = self.accelerator.reduce(tensor, reduction="mean").tolist()
        return found

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of tensors over the team, on the device of this process. Every process gets the same values."""
        tensor = tensor.to(self.device)
        if self.processes == 1:
            return tensor
        found: Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return found

    def wait(self) -> None:
        """Waits until every process of the team calls this method."""
        if not self.alone:
            self.accelerator.wait_for_everyone()

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Sends scalars to the run's trackers. Only calls in the main process have an effect."""
        self.accelerator.log(dict(scalars), step=step)


def shares(costs: Mapping[str, float], processes: int) -> list[list[str]]:
    """Divides factors among processes, and returns the names of the factors of each process.

    In order of decreasing cost, each factor is given to the process with the least work so far.

    Examples:
        >>> shares({"stage0": 50.0, "stage1": 12.0, "stage2": 3.0, "prior": 1.0}, 2)
        [['stage0'], ['stage1', 'stage2', 'prior']]
    """
    found: list[list[str]] = [[] for _ in range(processes)]
    loads = [0.0] * processes
    for name in sorted(costs, key=lambda name: -costs[name]):
        idlest = loads.index(min(loads))
        found[idlest].append(name)
        loads[idlest] += costs[name]
    return found
