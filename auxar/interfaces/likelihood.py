"""Records of the log-likelihoods of factors and of channels."""

from __future__ import annotations

import attrs
from torch import Tensor

from auxar.interfaces.image import ImageSpec


@attrs.frozen
class FactorLogProb:
    """The log-likelihoods of a batch of images under one factor."""

    factor: str
    """Name of the factor."""
    image: ImageSpec
    """Shape and range of the factor's image."""
    log_prob: Tensor
    """Log-likelihoods in nats, shape (b,)."""


@attrs.frozen(eq=False)
class ByChannel:
    """The log-likelihoods of images in nats, in total and for each channel."""

    total: Tensor
    """Log-likelihood of each image, shape (b,)."""
    channels: Tensor | None = None
    """Log-likelihood of each channel given the channels before it, shape (b, c). Its sum over channels is `total`. None
    if the model cannot split the total by channel."""
    inside: Tensor | None = None
    """Log-probability of given intervals under a free decoder, summed over the pixels of each channel, shape (b, c).
    Each term is the log-probability that a sub-pixel lies in its interval, given the earlier sub-pixels. None if no
    intervals were passed or the decoder cannot compute it."""
