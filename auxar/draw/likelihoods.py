"""Log-likelihoods of many images and of their pixels, in chunks of bounded memory and without gradients."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from auxar.arguments import as_integer
from auxar.errors import UserError
from auxar.model import Chain, FactorLogProb, device_of, evaluating
from auxar.model.checks import checked
from auxar.numerics.threads import ThreadChoice
from auxar.progress import BAR_DELAY, progress_bar

CHUNK_PIXELS = 2**16
"""Approximate number of pixels of the images whose log-likelihoods are computed at once, by default."""


def factor_log_probs(
    chain: Chain, images: Tensor, batch_size: Any = None, condition: Tensor | None = None, what: str = "log-likelihoods"
) -> tuple[FactorLogProb, ...]:
    """Computes the log-likelihoods of images (n, *image.shape) under each factor: float64 on the CPU, shape (n,).

    `condition` has the condition of each image, or is None. `what` describes the progress. Other arguments and errors
    are those of `_in_chunks`.
    """

    def compute(chunk: Tensor, given: Tensor | None) -> Tensor:
        nats = [checked(part.log_prob, part.factor) for part in chain.log_probs(chunk, condition=given)]
        return torch.stack(nats, 1).double()

    nats = _in_chunks(chain, images, condition, batch_size, (len(chain.factors),), compute, what)
    return tuple(FactorLogProb(factor.name, factor.image, nats[:, at]) for at, factor in enumerate(chain.factors))


def pixel_bits(chain: Chain, images: Tensor, condition: Tensor | None = None) -> Tensor:
    """The bits of each pixel of images (n, c, h, w) under all factors of a model: float64, (n, h, w), on the CPU.

    The bits of a pixel of a view are divided equally among the image's pixels that lie in its place, so the sum over
    all pixels is -log2 p of the image and its views. `condition` has the condition of each image, or is None. Raises
    `UserError` if a factor gives no likelihoods of single pixels.
    """
    size = (chain.image.height, chain.image.width)

    def compute(chunk: Tensor, given: Tensor | None) -> Tensor:
        values = chain.values(chunk.to(torch.int64), condition=given)
        nats = [checked(factor.given(values).by_pixel(factor.target(values)), factor.name) for factor in chain.factors]
        return torch.stack([_spread(-term.double().cpu() / math.log(2), size) for term in nats]).sum(0)

    return _in_chunks(chain, images, condition, None, size, compute)


def _in_chunks(
    chain: Chain,
    images: Tensor,
    condition: Tensor | None,
    batch_size: Any,
    shape: tuple[int, ...],
    compute: Callable[[Tensor, Tensor | None], Tensor],
    what: str = "log-likelihoods",
) -> Tensor:
    """Values of images from `compute`, for chunks of images and their conditions: float64 on the CPU, (n, *shape).

    The chain is in evaluation mode, and its modes are restored afterwards. `batch_size` images are computed at once;
    the default depends on their size. Raises `UserError` if `batch_size` is no positive integer, or if a GPU does not
    have enough memory for it.
    """
    usual = max(1, CHUNK_PIXELS // (chain.image.height * chain.image.width))
    most = usual if batch_size is None else as_integer(batch_size, "batch_size", 1)
    size = min(most, max(1, len(images)))
    device = device_of(chain)
    # A single chunk is computed as it is, because a comparison would take longer than it can save.
    threads = ThreadChoice(device if len(images) > size else None)
    found = [torch.empty((0, *shape), dtype=torch.float64)]
    with (
        evaluating(chain),
        progress_bar(total=len(images), desc=what, unit="image", delay=BAR_DELAY, leave=False) as bar,
    ):
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            given = None if condition is None else condition[rows].to(device)
            chunk = images[rows].to(device)
            try:
                found.append(threads.result(functools.partial(compute, chunk, given), len(chunk)).cpu())
            except torch.OutOfMemoryError:
                smaller = f"pass batch_size={max(1, size // 4)}" if size > 1 else "load the model with device='cpu'"
                raise UserError(
                    f"{device} does not have enough memory for {size} image(s) at once; {smaller}"
                ) from None
            bar.update(len(chunk))
    return torch.cat(found)


def _spread(bits: Tensor, size: tuple[int, ...]) -> Tensor:
    """Divides the bits of each pixel (b, h, w) among the image's pixels in its place, by area: (b, *size)."""
    if bits.shape[1:] == size:
        return bits
    rows, columns = (_shares(*lengths) for lengths in zip(bits.shape[1:], size, strict=True))
    return rows @ bits @ columns.T


def _shares(length: int, target: int) -> Tensor:
    """The share of each of `length` equal parts of a line that lies in each of `target` parts: (target, length)."""
    ends = torch.arange(1, length + 1, dtype=torch.float64) / length
    others = torch.arange(1, target + 1, dtype=torch.float64)[:, None] / target
    overlap = torch.minimum(ends, others) - torch.maximum(ends - 1 / length, others - 1 / target)
    return overlap.clamp(min=0) * length
