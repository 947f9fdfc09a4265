"""Log-likelihoods of many images, in chunks of bounded memory and without gradients."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from auxar.arguments import as_integer
from auxar.errors import UserError
from auxar.model import Chain, FactorLogProb, ImageSpec, device_of, evaluating
from auxar.numerics.threads import ThreadChoice
from auxar.progress import BAR_DELAY, progress_bar

CHUNK_PIXELS = 2**16
"""Approximate number of pixels of the images whose log-likelihoods are computed at once, by default."""


def factor_log_probs(
    chain: Chain, images: Tensor, batch_size: Any = None, condition: Tensor | None = None
) -> tuple[FactorLogProb, ...]:
    """Computes the log-likelihoods of images (n, *image.shape) under each factor: float64 on the CPU, shape (n,).

    `condition` has the condition of each image, or is None. The chain is in evaluation mode, and its modes are restored
    afterwards. `batch_size` images are computed at once; the default depends on their size. Raises `UserError` if
    `batch_size` is no positive integer, or if a GPU does not have enough memory for it."""
    size = min(chunk_size(chain.image, batch_size), max(1, len(images)))
    device = device_of(chain)
    # A single chunk is computed as it is, because a comparison would take longer than it can save.
    threads = ThreadChoice(device if len(images) > size else None)
    found: list[Tensor] = []
    with (
        torch.no_grad(),
        evaluating(chain),
        progress_bar(total=len(images), desc="log-likelihoods", unit="image", delay=BAR_DELAY, leave=False) as bar,
    ):
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            chunk = images[rows]
            given = None if condition is None else condition[rows].to(device)
            compute = functools.partial(_log_probs, chain, chunk.to(device), given)
            try:
                found.append(threads.result(compute, len(chunk)).cpu())
            except torch.OutOfMemoryError:
                smaller = f"pass batch_size={max(1, size // 4)}" if size > 1 else "load the model with device='cpu'"
                raise UserError(
                    f"{device} does not have enough memory for {size} image(s) at once; {smaller}"
                ) from None
            bar.update(len(chunk))
    nats = torch.cat([torch.empty((len(chain.factors), 0), dtype=torch.float64), *found], 1)
    return tuple(FactorLogProb(factor.name, factor.image, own) for factor, own in zip(chain.factors, nats, strict=True))


def _log_probs(chain: Chain, images: Tensor, condition: Tensor | None) -> Tensor:
    """The log-likelihoods of images under each factor: float64, (factors, n)."""
    found = chain.log_probs(images, condition)
    return torch.stack([factor.log_prob.double() for factor in found])


def chunk_size(image: ImageSpec, batch_size: Any) -> int:
    """The number of images that are computed at once: `batch_size`, or a number that fits the size of the images."""
    if batch_size is None:
        return max(1, CHUNK_PIXELS // (image.height * image.width))
    return as_integer(batch_size, "batch_size", 1)
