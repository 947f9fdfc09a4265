"""The optimizer `adamw`."""

from __future__ import annotations

import attrs
from attrs.validators import ge
from torch import nn
from torch.optim import AdamW

from auxar_optimizers.adam import AdamConfig, has_fused


@attrs.frozen
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch implements it."""

    weight_decay: float = attrs.field(default=0.01, validator=ge(0.0))
    """Weight decay: each step subtracts this number times the learning rate times the weights from all weights."""


def build(config: AdamWConfig, factor: nn.Module) -> AdamW:
    """Returns the optimizer of a factor's weights."""
    return AdamW(
        factor.parameters(),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=has_fused(factor),
    )
