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
    """For each channel, the log-probability that a free decoder's sub-pixels lie in given intervals, shape (b, c): the
    sum over pixels, where each sub-pixel is given those before it. None if no intervals were passed or the decoder
    cannot compute it."""
