"""Pixels of given images, whatever the network predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar.interfaces import ImageSpec, PixelSource
from auxar.sources.places import by_place


class ForceSource(PixelSource):
    """Forces every pixel to be that of a given image: a sampler then computes the predictions along that image.

    Args:
        image: Integers (b, *spec.shape) in [0, levels).
        spec: Describes the image.

    Raises `UserError` for an image that `spec` does not describe.
    """

    takes_outside = True

    def __init__(self, image: Tensor, spec: ImageSpec) -> None:
        spec.check(image)
        spec.check_range(image)
        self.count = len(image)
        self.image = by_place(image.to(torch.int64))
        """(h · w + 1, b, c), int64."""

    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        return self.image.index_select(0, places)
