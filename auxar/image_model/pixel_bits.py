"""The bits of single pixels, which show where an image is hard to predict."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from auxar.image_model.likelihoods import chunk_size
from auxar.model import Chain, device_of, evaluating


@torch.no_grad()
def pixel_bits(chain: Chain, images: Tensor, condition: Tensor | None = None) -> Tensor:
    """The bits of each pixel of images (n, c, h, w) under all factors of a model: float64, (n, h, w), on the CPU.

    The bits of a pixel of a view are divided equally among the image's pixels that lie in its place, so the sum over
    all pixels is -log2 p of the image and its views. `condition` has the condition of each image, or is None. Raises
    `UserError` if a factor gives no likelihoods of single pixels."""
    device, size = device_of(chain), chunk_size(chain.image, None)
    found = []
    with evaluating(chain):
        for start in range(0, len(images), size):
            part = images[start : start + size]
            given = None if condition is None else condition[start : start + size].to(device)
            views = chain.views(part.to(device, torch.int64))
            total = torch.zeros((len(part), chain.image.height, chain.image.width), dtype=torch.float64)
            for factor in chain.factors:
                nats = factor.pixel_log_prob(*factor.inputs(views, given))
                total += _spread(-nats.double().cpu() / math.log(2), total.shape[1:])
            found.append(total)
    return torch.cat(found) if found else torch.zeros((0, chain.image.height, chain.image.width), dtype=torch.float64)


def _spread(bits: Tensor, size: torch.Size) -> Tensor:
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
