"""The average of weights over training steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a module's parameters, corrected for its start.

    After t updates it is Σ decay^(t-i) w_i / Σ decay^(t-i), which is what the average that starts at zero is after
    division by 1 - decay^t: the initial weights have no part in it. With decay 0 it is the last weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = dict(module.named_parameters())
        self.averages = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the present weights."""
        self.updates += 1
        if self.decay:
            weight = (1 - self.decay) / (1 - self.decay**self.updates)
            torch._foreach_lerp_(list(self.averages.values()), list(self.parameters.values()), weight)

    @torch.no_grad()
    def apply(self) -> None:
        """Puts the average in the place of the weights."""
        if self.decay and self.updates:
            for name, parameter in self.parameters.items():
                parameter.copy_(self.averages[name])

    def tensors(self) -> dict[str, Tensor]:
        """The average by parameter name; empty where it would be the weights themselves."""
        return self.averages if self.decay else {}

    def restore(self, tensors: dict[str, Tensor], updates: int) -> None:
        """Puts back a saved average. Raises `KeyError` for a parameter that is missing."""
        self.updates = updates
        for name, average in self.averages.items() if self.decay else ():
            average.copy_(tensors[name])
