"""The processes that train a factor together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from accelerate import Accelerator
from torch import nn


@attrs.frozen
class Team:
    """The processes that train a factor together, each with a share of every batch: all of a process group."""

    accelerator: Accelerator

    @property
    def rank(self) -> int:
        """Rank of this process in the team, from 0."""
        found: int = self.accelerator.process_index
        return found

    @property
    def processes(self) -> int:
        """Number of processes in the team."""
        found: int = self.accelerator.num_processes
        return found

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        found: torch.device = self.accelerator.device
        return found

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        """Wraps model and optimizer for training with the run's precision. Gradients are averaged over the team."""
        found: tuple[nn.Module, Any] = self.accelerator.prepare(model, optimizer)
        return found

    def mean(self, values: Sequence[float]) -> list[float]:
        """The mean of each value over the team. The result is bit-identical in every process."""
        if self.processes == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        found: list[float] = self.accelerator.reduce(tensor, reduction="mean").tolist()
        return found

    def wait(self) -> None:
        """Waits until every process of the team calls this method."""
        self.accelerator.wait_for_everyone()

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Sends scalars to the run's trackers. Only calls in the main process have an effect."""
        self.accelerator.log(dict(scalars), step=step)
