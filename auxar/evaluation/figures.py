"""Figures of log-likelihoods of single images: means over images and their standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

Dims = float | Tensor
"""A number of sub-pixels: of every image or, if images have several sizes, of each, (images,)."""


@attrs.frozen
class Mean:
    """A mean over images, or an unknown one.

    Examples:
        >>> import torch
        >>> Mean.of(torch.tensor([1.0, 2.0, 3.0]))
        Mean(value=2.0, error=0.5773502588272095)
        >>> Mean(3.5, 0.4) - Mean(3.0, 0.3), Mean(3.5, 0.4) - Mean()
        (Mean(value=0.5, error=0.5), Mean(value=None, error=None))
        >>> print(Mean(3.5, 0.4), Mean(3.5), Mean())
        3.5000 ± 0.4000 3.5000 unknown
    """

    value: float | None = None
    """The mean; None if it is unknown."""
    error: float | None = None
    """Standard error; None for a single image."""

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.4f}"
        return "unknown" if self.value is None else f"{self.value:.4f}{error}"

    @classmethod
    def of(cls, values: Tensor | None) -> Mean:
        """The mean of values (images,). It is unknown if there are none."""
        if values is None:
            return cls()
        count = len(values)
        return cls(values.mean().item(), (values.std() / math.sqrt(count)).item() if count > 1 else None)

    def __sub__(self, other: Mean) -> Mean:
        """The difference of two means over different images, which are independent."""
        if self.value is None or other.value is None:
            return Mean()
        error = None if self.error is None or other.error is None else math.hypot(self.error, other.error)
        return Mean(self.value - other.value, error)

    def to_dict(self, value: str = "bits_per_dim", error: str = "standard_error") -> dict[str, float | None]:
        """The mean and its standard error under these names."""
        return {value: self.value, error: self.error}


def bits(nats: Tensor | None, dims: Dims = 1) -> Mean:
    """Bits for each of the `dims` sub-pixels of an image: the mean of -log₂ p / dims, from log p in nats, (images,).

    If images have several sizes, it is the ratio of all bits and all sub-pixels, with the standard error of a ratio
    (delta method).

    Examples:
        >>> import torch
        >>> found = bits(torch.tensor([-1.0, -3.0]) * math.log(2), torch.tensor([1.0, 2.0]))
        >>> round(found.value, 3), round(found.error, 3)
        (1.333, 0.222)
    """
    if nats is None:
        return Mean()
    # Subtracting from 0 instead of negating avoids -0.0, which would be shown.
    if not isinstance(dims, Tensor):
        return Mean.of((0.0 - nats) / (math.log(2) * dims))
    found = (0.0 - nats) / math.log(2)
    ratio = (found.sum() / dims.sum()).item()
    return Mean(ratio, Mean.of((found - ratio * dims) / dims.mean()).error)


@attrs.frozen(eq=False)
class Figures:
    """The likelihood of a model, of one factor, or of one channel of a factor's image, on a set of images."""

    own: Tensor | None
    """Log-likelihood of each image in nats, (images,). None if a factor is not trained or the set is not evaluated."""
    inside: Tensor | None
    """For a free decoder, the log-probability of images with the given view, (images,). None if it is unknown."""
    together: Tensor | None
    """Log-likelihood of each image under the factor and all coarser ones, (images,). None if a factor is not trained,
    and for a channel."""
    dims: Dims
    """Number of sub-pixels of the image or the channel."""
    dims_of_image: Dims
    """Number of sub-pixels of the image X."""
    channels: Sequence[Figures] = ()
    """Figures of each channel, given the channels before it. Empty if the factor cannot split its likelihood."""

    def __repr__(self) -> str:
        return f"{self.bits_per_dim} bits/dim"

    @property
    def nats(self) -> Mean:
        """Log-likelihood of an image in nats."""
        return Mean.of(self.own)

    @property
    def bits_per_dim(self) -> Mean:
        """Bits for each sub-pixel. The mean over channels is the factor's."""
        return bits(self.own, self.dims)

    @property
    def share(self) -> Mean:
        """Bits divided by the number of sub-pixels of the image X. The sum over factors is the model's bits/dim."""
        return bits(self.own, self.dims_of_image)

    @property
    def cumulative(self) -> Mean:
        """Bits of this factor and all coarser ones together for each sub-pixel of this factor's image."""
        return bits(self.together, self.dims)

    @property
    def wasted(self) -> Mean:
        """The part of `bits_per_dim` that free decoders spend on values that their views rule out.

        Restricting the decoders would save this much. It is unknown for a factor without a free decoder.
        """
        return bits(self.inside, self.dims)

    @property
    def wasted_share(self) -> Mean:
        """The part of `share` that free decoders spend on values that their views rule out."""
        return bits(self.inside, self.dims_of_image)

    def means(self) -> dict[str, float | None]:
        """The means and their standard errors by name; None if they are unknown."""
        found: dict[str, float | None] = {}
        for value, error, mean in (
            ("nats", "nats_standard_error", self.nats),
            ("bits_per_dim", "standard_error", self.bits_per_dim),
            ("bits_per_dim_of_image", "standard_error_of_image", self.share),
            ("cumulative_bits_per_dim", "cumulative_standard_error", self.cumulative),
            ("wasted_bits_per_dim", "wasted_standard_error", self.wasted),
            ("wasted_bits_per_dim_of_image", "wasted_standard_error_of_image", self.wasted_share),
        ):
            found |= mean.to_dict(value, error)
        return found

    def to_dict(self) -> dict[str, Any] | None:
        """The `means`, and those of each channel under `channels`, or None if there are none."""
        channels = [channel.means() for channel in self.channels] or None
        return None if self.own is None else {**self.means(), "channels": channels}
