"""Checks that a shipped pixel source fits the program that reads its pixels.

The C++ library accesses memory by address and checks no index, so shapes, dtypes and ranges are checked here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from auxar import DecodeSource, DrawSource, ForceSource, Interval, NeighborWalk, PixelSource, SumWalk, UserError, Walk
from auxar_samplers.compiler.program import Program


def check_fits(source: PixelSource, program: Program, parameters: int = 0, noise: int = 0) -> None:
    """Raises `UserError` if a shipped source does not fit the program's images or its head.

    The head's compiled code reads the given numbers of parameters and of random numbers for each pixel.
    """
    fitting = _Fitting(program)
    if isinstance(source, ForceSource):
        fitting.force(source)
        return
    assert isinstance(source, DrawSource | DecodeSource)
    levels = source.levels if isinstance(source, DrawSource) else source.image.levels
    _expect("the number of levels", levels, program.network.image.levels)
    _expect("the number of parameters of a pixel", parameters, program.output.values.shape[1])
    if isinstance(source, DrawSource):
        fitting.noise(source, noise)
    else:
        fitting.order(source)
    fitting.walk(source.walk)


class _Fitting:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.most = program.network.image.levels - 1
        self.images = tuple(program.image.shape)
        """The shape of the program's images, (places, batch, channels). The last place stands for "outside"."""

    def force(self, source: ForceSource) -> None:
        _expect("the shape (height · width + 1, images, channels)", tuple(source.image.shape), self.images)
        self.tensor("the images", source.image, self.images, most=self.most)

    def noise(self, source: DrawSource, count: int) -> None:
        self.tensor("the random numbers", source.uniforms, (*self.images[:2], count), torch.float64)
        if source.limits is not None:
            self.limits(source.limits)

    def order(self, source: DecodeSource) -> None:
        """Checks the images of a source, and the order of their pixels: the library decodes in the order of places."""
        image, program = source.image, self.program
        found = image.height * image.width + 1, source.count, image.channels
        _expect("the shape (height · width + 1, images, channels)", found, self.images)
        order = np.sort(program.places[program.draws[program.draws >= 0]], axis=1)
        if not np.array_equal(order[order < len(program.image) - 1], source.order.numpy()):
            raise UserError(
                f"the sampler asks for pixels in another order than that of the file, which has a lag of {source.lag}"
            )

    def limits(self, limits: Interval) -> None:
        for values in (limits.low, limits.high):
            self.tensor("the limits", values, self.images, most=self.most)
        if bool((limits.low > limits.high).any()):
            _expect("the lower limits", "greater values", "at most the upper limits")

    def walk(self, walk: Walk | None) -> None:
        places, count, channels = self.images
        if isinstance(walk, NeighborWalk):
            image = self.program.network.image
            _expect("the width of the image", walk.width, image.width)
            size = (image.height + 2) * (image.width + 1)
            self.tensor("the drawn values", walk.values, (channels, size, count))
        if not isinstance(walk, SumWalk):
            return
        groups, of_pixels = len(walk.lowest), (channels, places)
        for sums in (walk.lowest, walk.highest, walk.expected):
            self.tensor("the sums", sums, (groups, count))
        self.tensor("the group numbers", walk.groups, of_pixels, most=groups - 1)
        self.tensor("the weights in sums", walk.weights, of_pixels, least=1)
        self.tensor("the largest sums", walk.most_left, of_pixels, least=1)
        later_images = 1 if walk.least.shape[-1] == 1 else count
        for sums in (walk.least, walk.most):
            self.tensor("the sums of later pixels", sums, (*of_pixels, later_images))

    def tensor(
        self,
        what: str,
        values: Tensor,
        shape: Sequence[int],
        dtype: torch.dtype = torch.int64,
        *,
        least: int = 0,
        most: int | None = None,
    ) -> None:
        """Raises `UserError` if the tensor has another dtype or shape, is not on the CPU, or has values out of range.

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
