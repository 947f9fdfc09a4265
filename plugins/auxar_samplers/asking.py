"""How samplers and engines ask a source for pixels: any source, which may be a stranger's."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar import DrawSource, ImageSpec, PixelSource, UserError


def ask(source: PixelSource, places: Tensor, parameters: Tensor, channels: int) -> Tensor:
    """The source's pixels at those places. Raises `UserError` if they are not what `PixelSource.pixels` describes.

    Their range is left to `check_drawn`: to look at values waits for the device, which is too slow at every step.
    """
    drawn = source.pixels(places, parameters)
    expected = (len(places), source.count, channels)
    if not isinstance(drawn, Tensor) or drawn.dtype != torch.int64 or tuple(drawn.shape) != expected:
        found = f"{drawn.dtype} of shape {tuple(drawn.shape)}" if isinstance(drawn, Tensor) else type(drawn).__name__
        raise UserError(f"{type(source).__name__}: expected pixels of torch.int64 of shape {expected}, got {found}")
    return drawn


def check_drawn(source: PixelSource, drawn: Tensor, image: ImageSpec) -> None:
    """Raises `UserError` unless every pixel that a source gave is one of the image's levels.

    The values that a head draws are the head's: law `range` of its contract.
    """
    if not isinstance(source, DrawSource):
        image.check_range(drawn, f"pixels of {type(source).__name__}")
