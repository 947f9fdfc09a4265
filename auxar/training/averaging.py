"""An exponential moving average of a module's weights over training steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a module's parameters, with bias correction.

    After t updates it equals Σ decay^(t-i) w_i / Σ decay^(t-i) with i = 1 … t: the usual average, started at zero and
    divided by 1 - decay^t. The initial weights do not contribute. With decay 0, no average is kept and the last weights
    are used.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = dict(module.named_parameters())
        self.averages = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Updates the average with the current weights."""
        self.updates += 1
        if self.decay:
            weight = (1 - self.decay) / (1 - self.decay**self.updates)
            torch._foreach_lerp_(list(self.averages.values()), list(self.parameters.values()), weight)

    @torch.no_grad()
    def apply(self) -> None:
        """Copies the average into the module's parameters. Does nothing with decay 0 or before the first update."""
        if self.decay and self.updates:
            for name, parameter in self.parameters.items():
                parameter.copy_(self.averages[name])

    def tensors(self) -> dict[str, Tensor]:
        """The averaged tensors by parameter name; empty with decay 0."""
        return self.averages if self.decay else {}

    def restore(self, tensors: dict[str, Tensor], updates: int) -> None:
        """Restores a saved average and its number of updates. Raises `KeyError` if a parameter is missing."""
        self.updates = updates
        for name, average in self.averages.items() if self.decay else ():
            average.copy_(tensors[name])


@contextlib.contextmanager
def averaged(module: nn.Module, average: WeightAverage) -> Iterator[None]:
    """Gives a module its averaged weights. On exit, restores its own weights to the last bit."""
    kept = [parameter.detach().clone() for parameter in module.parameters()]
    average.apply()
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, own in zip(module.parameters(), kept, strict=True):
                parameter.copy_(own)
