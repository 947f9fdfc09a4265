"""An exponential moving average of a module's weights over training steps."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

WARMUP = 10
"""While the average warms up, it covers about the last 1 / `WARMUP` of all updates so far."""


class WeightAverage:
    """Exponential moving average of a module's parameters.

    Update t = 1, 2, … moves the average towards the weights by a share of their distance. With warmup, the share is the
    larger of 1 - decay and 10 / (t + 9). While t is less than about 10 / (1 - decay), the average therefore covers
    about the last tenth of the updates, and no weights from the beginning of training. Without warmup, the average is
    corrected for bias: it equals Σ decay^(t-i) w_i / Σ decay^(t-i) with i = 1 … t.

    The initial weights do not contribute. Apart from the average, only the number of updates is state. With decay 0, no
    average is kept and the last weights are used.
    """

    def __init__(self, module: nn.Module, decay: float, *, warmup: bool = True) -> None:
        self.decay = decay
        self.warmup = warmup
        self.parameters = dict(module.named_parameters())
        self.averages = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Updates the average with the current weights."""
        self.updates += 1
        if self.decay:
            share = (1 - self.decay) / (1 - self.decay**self.updates)
            if self.warmup:
                share = max(1 - self.decay, WARMUP / (self.updates + WARMUP - 1))
            torch._foreach_lerp_(list(self.averages.values()), list(self.parameters.values()), share)

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
