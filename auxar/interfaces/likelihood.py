"""Log-likelihoods in parts: factor by factor, and channel by channel."""

from __future__ import annotations

import attrs
from torch import Tensor

from auxar.interfaces.image import ImageSpec


@attrs.frozen
class FactorLogProb:
    """One factor's log-likelihoods: nats, shape (b,), of images described by `image`."""

    factor: str
    image: ImageSpec
    log_prob: Tensor


@attrs.frozen(eq=False)
class ByChannel:
    """Log-likelihoods of images, channel by channel, each given the channels before it: nats."""

    total: Tensor
    """(b,)."""
    channels: Tensor | None = None
    """(b, c), which add up to `total`. None where the model does not tell channels apart."""
    inside: Tensor | None = None
    """(b, c), log-probabilities that a free decoder's channels lie in intervals. None where they were not asked for or
    the decoder cannot tell."""
