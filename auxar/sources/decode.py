"""A pixel source that decodes pixels from the bytes of an entropy coder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.interfaces import DrawnPixels, ImageSpec, PixelSource, Walk
from auxar.interfaces.integer_head import ANCESTRAL, IntegerHead, find_value
from auxar.numerics.range_coder import RangeDecoders


def coding_order(image: ImageSpec, lag: int) -> Tensor:
    """The places of all pixels, row · width + column, in the order in which they are coded: int64, (h · w,).

    The pixel at row r and column c is coded at time r · lag + c, and of pixels with the same time, that of the upper
    row comes first.

    Examples:
        >>> coding_order(ImageSpec(height=2, width=3), lag=3).tolist()
        [0, 1, 2, 3, 4, 5]
        >>> coding_order(ImageSpec(height=2, width=3), lag=2).tolist()
        [0, 1, 2, 3, 4, 5]
        >>> coding_order(ImageSpec(height=2, width=3), lag=1).tolist()
        [0, 1, 3, 2, 4, 5]
    """
    # The default device of tensors may be another one.
    rows, columns = (torch.arange(side, device="cpu") for side in (image.height, image.width))
    # Sorting is stable, so that places with the same time stay in raster order.
    return (rows[:, None] * lag + columns).flatten().argsort(stable=True)


class DecodeSource(PixelSource):
    """A pixel source that decodes pixels from streams of a range coder, one stream for each image.

    `lag` is that of the order in which the pixels were coded. `walk` gives the intervals to which the pixels are
    restricted, if they are. If a sampler asks for pixels in another order, `UserError` is raised.
    """

    def __init__(
        self, head: IntegerHead, image: ImageSpec, streams: Sequence[bytes], lag: int, walk: Walk | None = None
    ) -> None:
        self.head = head
        self.image = image
        self.decoders = RangeDecoders(streams)
        self.walk = walk
        self.count = len(streams)
        self.lag = lag
        self.reach = 0 if walk is None else walk.reach
        self.order = coding_order(image, lag)
        """The places of all pixels in the order in which they are decoded: int64, (h · w,)."""
        self._done = 0

    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        found = torch.empty((len(places), self.count, self.image.channels), dtype=torch.int64, device="cpu")
        sorted_, order = places.cpu().sort()
        expected = self.order[self._done : self._done + len(places)]
        if not torch.equal(sorted_, expected):
            raise UserError(
                f"the sampler asks for pixels in another order than that of the file, which has a lag of {self.lag}"
            )
        self._done += len(places)
        for number in order.tolist():
            own = parameters[number * self.count : (number + 1) * self.count].cpu()
            found[number] = self._pixel(places[number : number + 1].cpu(), own)
        return found.to(places.device)

    def _pixel(self, place: Tensor, parameters: Tensor) -> Tensor:
        """Decodes the pixel at one place of all images: int64, (count, c)."""
        frequencies = self.head.frequencies(parameters, ANCESTRAL)
        pixels = None if self.walk is None else DrawnPixels(self.walk, self.image.levels, place)
        low = torch.zeros(self.count, dtype=torch.int64, device="cpu")
        high = torch.full_like(low, self.image.levels - 1)
        decoded = []
        for channel in range(self.image.channels):
            if pixels is not None:
                interval = pixels.interval(channel)
                low, high = interval.low, interval.high
            chosen = (low < high).nonzero().squeeze(1).numpy()
            targets = torch.zeros_like(low)
            targets[chosen] = torch.from_numpy(self.decoders.targets(chosen))
            value = find_value(frequencies, targets, low, high)
            start, end = frequencies.below(torch.stack([value, value + 1], dim=1), low, high).numpy().T
            self.decoders.take(chosen, start[chosen], np.maximum(1, end - start)[chosen])
            frequencies.take(value)
            if pixels is not None:
                pixels.take(channel, value)
            decoded.append(value)
        return torch.stack(decoded, dim=1)
