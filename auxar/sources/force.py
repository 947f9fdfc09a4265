"""A pixel source that returns the pixels of given images and ignores the network's predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar.interfaces import ImageSpec, PixelSource
from auxar.sources.places import by_place


class ForceSource(PixelSource):
    """A pixel source that returns the pixels of given images. A sampler then computes the predictions for these images.

    Args:
        image: The images, integers (b, *spec.shape) in [0, levels).
        spec: Shape and range of the images.

    Raises `UserError` if dtype, shape or range of `image` does not match `spec`.
    """

    takes_outside = True
    in_place = True

    def __init__(self, image: Tensor, spec: ImageSpec) -> None:
        spec.check(image)
        spec.check_range(image)
        self.count = len(image)
        self.image = by_place(image.to(torch.int64))
        """The images by place (see `by_place`): int64, shape (h · w + 1, b, c)."""

    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        return self.image.index_select(0, places)
