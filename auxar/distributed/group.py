"""How processes share the training of a factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from accelerate import Accelerator
from torch import nn


@attrs.frozen
class Team:
    """The processes that train a factor: all of the run's on shares of every batch, or, `alone`, this one by itself."""

    accelerator: Accelerator
    alone: bool = False

    @property
    def rank(self) -> int:
        """Number of this process in the team."""
        return 0 if self.alone else self.accelerator.process_index

    @property
    def processes(self) -> int:
        """Number of processes in the team."""
        return 1 if self.alone else self.accelerator.num_processes

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        found: torch.device = self.accelerator.device
        return found

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        """Model and optimizer as training uses them: with the run's precision, gradients averaged over the team."""
        if self.alone:
            # Prepared for evaluation only, a model has the run's precision and no connection to other processes.
            return self.accelerator.prepare_model(model, evaluation_mode=True), optimizer
        found: tuple[nn.Module, Any] = self.accelerator.prepare(model, optimizer)
        return found

    def mean(self, values: Sequence[float]) -> list[float]:
        """Each value's mean over the team; the same to the last bit in every process."""
        if self.processes == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        found: list[float] = self.accelerator.reduce(tensor, reduction="mean").tolist()
        return found

    def wait(self) -> None:
        """Waits until every process of the team is here."""
        if not self.alone:
            self.accelerator.wait_for_everyone()

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Sends numbers to the run's trackers, which its first process keeps."""
        self.accelerator.log(dict(scalars), step=step)


def shares(costs: Mapping[str, float], processes: int) -> list[list[str]]:
    """Which factors each process trains, so that all end about as early as can be: the longest first, to the idlest.

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
