"""The optimizers `adam` and `adamw`."""

import attrs
from attrs.validators import and_, deep_iterable, ge, lt
from torch import nn
from torch.optim import Adam

from auxar import at_most, positive

MOST_RATE = 3e38
"""Maximum learning rate, which float32 can hold."""
FUSED = ("cpu", "cuda")
"""The types of devices for which PyTorch has fused implementations of Adam and AdamW."""


@attrs.frozen
class AdamConfig:
    """Adam (Kingma and Ba 2015), the optimizer of the paper, as PyTorch implements it."""

    learning_rate: float = attrs.field(default=1e-3, validator=[positive, at_most(MOST_RATE)])
    """Learning rate at the first step, or at the first step after `training.warmup`."""
    betas: tuple[float, float] = attrs.field(default=(0.9, 0.999), validator=deep_iterable(and_(ge(0.0), lt(1.0))))
    """Decay rates of the first and second moments of the gradient, at least 0 and less than 1."""


@attrs.frozen
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch implements it."""

    weight_decay: float = attrs.field(default=0.01, validator=ge(0.0))
    """Weight decay: each step subtracts this number times the learning rate times the weights from all weights."""


def build(optimizer: type[Adam], config: AdamConfig, factor: nn.Module) -> Adam:
    """Returns an optimizer of a factor's weights, of the class `optimizer`."""
    options = attrs.asdict(config, recurse=False)
    return optimizer(factor.parameters(), lr=options.pop("learning_rate"), **options, fused=has_fused(factor))


def has_fused(factor: nn.Module) -> bool:
    """Whether PyTorch has a fused implementation of Adam for the device of a factor's weights."""
    return all(weight.device.type in FUSED for weight in factor.parameters())
