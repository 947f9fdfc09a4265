"""Functions that ask a pixel source for pixels and check the answer, because the source may come from a plugin."""

import torch
from torch import Tensor

from auxar import DrawSource, ImageSpec, PixelSource, UserError


def ask(source: PixelSource, places: Tensor, parameters: Tensor, channels: int) -> Tensor:
    """Asks the source for the pixels at `places`, shape (n,). Returns int64, shape (n, source.count, channels).

    Raises `UserError` if the source returns another type, dtype or shape. Only `check_drawn` checks the range, after
    the last step, because reading values waits for the device, which is too slow at every step.
    """
    drawn = source.pixels(places, parameters)
    expected = (len(places), source.count, channels)
    if not isinstance(drawn, Tensor) or drawn.dtype != torch.int64 or tuple(drawn.shape) != expected:
        found = f"{drawn.dtype} of shape {tuple(drawn.shape)}" if isinstance(drawn, Tensor) else type(drawn).__name__
        raise UserError(f"{type(source).__name__}.pixels must return torch.int64 of shape {expected}, got {found}")
    return drawn


def check_raster_order(name: str, lag: int | None, image: ImageSpec) -> None:
    """Raises `UserError` if a pixel source has a lag with which pixels are not drawn in raster order."""
    if lag is not None and lag < image.width:
        raise UserError(
            f"sampler '{name}' draws pixels in raster order, which is a lag of {image.width} columns, got {lag}"
        )


def check_drawn(source: PixelSource, drawn: Tensor, image: ImageSpec) -> None:
    """Raises `UserError` if a value that the source returned lies outside [0, levels).

    The values of a `DrawSource` are not checked: the head that draws them must keep them in range.
    """
    if not isinstance(source, DrawSource):
        image.check_range(drawn, f"pixels of {type(source).__name__}")
