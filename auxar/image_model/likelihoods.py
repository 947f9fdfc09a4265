"""Log-likelihoods of many images, in chunks of bounded memory and without gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from auxar.arguments import as_integer
from auxar.errors import UserError
from auxar.interfaces import FactorLogProb, ImageSpec, Prior, evaluating
from auxar.interfaces.device import device_of
from auxar.progress import BAR_DELAY, progress_bar

CHUNK_PIXELS = 2**16
"""Approximate number of pixels of the images whose log-likelihoods are computed at once, by default."""


def factor_log_probs(
    chain: Prior, images: Tensor, batch_size: Any = None, condition: Tensor | None = None
) -> tuple[FactorLogProb, ...]:
    """Computes the log-likelihoods of images (n, *image.shape) under each factor: float64 on the CPU, shape (n,).

    `condition` has the condition of each image, or is None. The chain is in evaluation mode, and its modes are restored
    afterwards. `batch_size` images are computed at once; the default depends on their size. Raises `UserError` if
    `batch_size` is no positive integer, or if a GPU does not have enough memory for it."""
    size = min(chunk_size(chain.image, batch_size), max(1, len(images)))
    device = device_of(chain)
    found: list[list[Tensor]] = [[] for _ in chain.factors]
    with (
        torch.no_grad(),
        evaluating(chain),
        progress_bar(total=len(images), desc="log-likelihoods", unit="image", delay=BAR_DELAY, leave=False) as bar,
    ):
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            chunk = images[rows]
            try:
                given = None if condition is None else condition[rows].to(device)
                result = chain.log_probs(chunk.to(device), *chain.condition_arguments(given))
            except torch.OutOfMemoryError:
                smaller = f"pass batch_size={max(1, size // 4)}" if size > 1 else "load the model with device='cpu'"
                raise UserError(
                    f"{device} does not have enough memory for {size} image(s) at once; {smaller}"
                ) from None
            for own, factor in zip(found, result, strict=True):
                own.append(factor.log_prob.to("cpu", torch.float64))
            bar.update(len(chunk))
    return tuple(
        FactorLogProb(factor.name, factor.image, torch.cat(own) if len(images) else torch.empty(0, dtype=torch.float64))
        for factor, own in zip(chain.factors, found, strict=True)
    )


def chunk_size(image: ImageSpec, batch_size: Any) -> int:
    """The number of images that are computed at once: `batch_size`, or a number that fits the size of the images."""
    if batch_size is None:
        return max(1, CHUNK_PIXELS // (image.height * image.width))
    return as_integer(batch_size, "batch_size", 1)
