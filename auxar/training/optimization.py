"""The optimizers of training, as PyTorch implements them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from auxar.recipe import TrainingConfig

WEIGHT_DECAY = 0.01
"""Weight decay of AdamW if a recipe does not give it. It is also the default of PyTorch."""


def make_optimizer(parameters: Iterable[nn.Parameter], config: TrainingConfig, device: str) -> Optimizer:
    """Returns the optimizer of a recipe, in PyTorch's fused implementation if the type of device has it."""
    fused = device in ("cpu", "cuda")
    rate, betas = config.learning_rate, config.betas
    if config.optimizer == "adamw":
        weight_decay = WEIGHT_DECAY if config.weight_decay is None else config.weight_decay
        return AdamW(parameters, lr=rate, betas=betas, weight_decay=weight_decay, fused=fused)
    return Adam(parameters, lr=rate, betas=betas, fused=fused)
