"""Checks that a shipped pixel source fits the program that reads its pixels.

The C++ library accesses memory by address and checks no index, so shapes, dtypes and ranges are checked here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from auxar import DecodeSource, DrawSource, ForceSource, NeighborWalk, PixelSource, SumWalk, UserError, Walk
from auxar_samplers.compiler.program import Program


def check_fits(source: PixelSource, program: Program, parameters: int = 0, noise: int = 0) -> None:
    """Raises `UserError` if a shipped source does not fit the program's images or its head.

    The head's compiled code reads the given numbers of parameters and of random numbers for each pixel.
    """
    shape, most = tuple(program.image.shape), program.network.image.levels - 1
    if isinstance(source, ForceSource):
        _check("the images", source.image, shape, most=most)
        return
    assert isinstance(source, DrawSource | DecodeSource)
    levels = source.levels if isinstance(source, DrawSource) else source.image.levels
    _expect("the number of levels", levels, most + 1)
    _expect("the number of parameters of a pixel", parameters, program.output.values.shape[1])
    if isinstance(source, DecodeSource):
        _check_order(source, program)
    else:
        _check("the random numbers", source.uniforms, (*shape[:2], noise), torch.float64)
        for values in () if source.limits is None else (source.limits.low, source.limits.high):
            _check("the limits", values, shape, most=most)
    _check_walk(source.walk, program)


def _check_order(source: DecodeSource, program: Program) -> None:
    """Checks the images of a source, and the order of their pixels: the library decodes in the order of places."""
    image, shape = source.image, program.image.shape
    _check("the known pixels", source.known, (min(len(source.known), shape[0] - 1), *shape[1:]), most=image.levels - 1)
    found = image.height * image.width + 1, source.count, image.channels
    _expect("the shape (height · width + 1, images, channels)", found, tuple(shape))
    order = np.sort(program.places[program.draws[program.draws >= 0]], axis=1)
    if not np.array_equal(order[order < len(program.image) - 1], source.order.numpy()):
        raise UserError(
            f"the sampler asks for pixels in another order than that of the file, which has a lag of {source.lag}"
        )


def _check_walk(walk: Walk | None, program: Program) -> None:
    places, count, channels = program.image.shape
    if isinstance(walk, NeighborWalk):
        image = program.network.image
        _check("the drawn values", walk.values, (channels, (image.height + 2) * (image.width + 1), count))
        walk = walk.walk
    if not isinstance(walk, SumWalk):
        return
    groups, of_pixels = len(walk.lowest), (channels, places)
    for sums in (walk.lowest, walk.highest, walk.expected):
        _check("the sums", sums, (groups, count))
    _check("the group numbers", walk.groups, of_pixels, most=groups - 1)
    # What is left of sums follows from the groups and weights.
    _check("the weights in sums", walk.weights, of_pixels, least=1)


def _check(
    what: str,
    values: Tensor,
    shape: Sequence[int],
    dtype: torch.dtype = torch.int64,
    *,
    least: int = 0,
    most: int | None = None,
) -> None:
    """Raises `UserError` if a tensor has another dtype or shape, is not on the CPU, or has values out of range.

    The range is least … most. If `most` is None, it has no upper end; if also `least` is 0, it is not checked.
    """
    found = values.dtype, tuple(values.shape), values.device.type
    _expect(f"dtype, shape and device of {what}", found, (dtype, tuple(shape), "cpu"))
    if (most is None and not least) or not values.numel():
        return
    low, high = map(int, values.aminmax())
    if low < least or (most is not None and high > most):
        _expect(f"values of {what}", f"{low} … {high}", f"{least} …" if most is None else f"{least} … {most}")


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise UserError(f"the source does not fit the network: {what} must be {expected}, got {found}")
