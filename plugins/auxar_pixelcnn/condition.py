"""The embeddings of conditions: `categories` for labels, attributes and masks, and `pixels` for images.

A condition may be of another size than a factor's images, because all factors of a chain are given the same condition.
"""

import math
from typing import Self

import attrs
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from auxar import Encoded, ImageSpec, UserError
from auxar_layers.convolutions import Pointwise
from auxar_pixelcnn.blocks import ordinary_block
from auxar_pixelcnn.embedding import InitializedEmbedding

MOST_CATEGORIES = 65_536
"""Maximum number of categories, summed over the channels of a condition."""


class ConditionEmbedding(InitializedEmbedding):
    """An embedding of a condition: a 1×1 convolution of its encoded values, and residual blocks.

    If the condition is larger than the image, each rectangle of its pixels becomes one pixel with more channels, so no
    value is lost. If it is smaller, features are repeated over the rectangles of the image's pixels that it covers. The
    features of a condition of one pixel, such as a label, are the same at all places.

    Raises `UserError` if neither of the sizes is a whole multiple of the other.
    """

    def __init__(self, view: ImageSpec, image: ImageSpec, *, filters: int, blocks: int, dropout: float) -> None:
        super().__init__(view, image, filters)
        self.folded, self.repeats = _factors(view, image)
        self.any_size = self.folded == (1, 1)
        self.start = Pointwise([self.encoded.channels], filters)
        self.blocks = nn.ModuleList(ordinary_block(filters, [], dropout) for _ in range(blocks))

    def at(self, view: ImageSpec, image: ImageSpec) -> Self:
        found = super().at(view, image)
        folded, found.repeats = _factors(view, image)
        if folded != self.folded:
            raise UserError(f"a condition of {view.size} for images of {image.size} would need other weights")
        return found

    def encode(self, view: Tensor) -> Tensor:
        return self.encode_integers(view).to(self.start.bias.dtype) * self.encoded.step

    def features(self, view: Tensor) -> Tensor:
        x: Tensor = self.start(view)
        for block in self.blocks:
            x = block(x)
        return x


class CategoriesEmbedding(ConditionEmbedding):
    """The embedding `categories`: each value is encoded as a vector with a one at its category."""

    def __init__(self, view: ImageSpec, image: ImageSpec, *, filters: int, blocks: int, dropout: float) -> None:
        channels = view.channels * view.levels
        if channels > MOST_CATEGORIES:
            raise UserError(f"expected at most {MOST_CATEGORIES:,} categories in all channels, got {channels:,}")
        super().__init__(view, image, filters=filters, blocks=blocks, dropout=dropout)

    @property
    def encoded(self) -> Encoded:
        return Encoded(1.0, 1, self.view.channels * self.view.levels * math.prod(self.folded))

    def encode_integers(self, view: Tensor) -> Tensor:
        found = functional.one_hot(view.to(torch.int64), self.view.levels)
        return _folded(found.permute(0, 1, 4, 2, 3).flatten(1, 2).double(), *self.folded)


class PixelsEmbedding(ConditionEmbedding):
    """The embedding `pixels`: values are scaled to [-1, 1], with a channel of ones that marks pixels."""

    marks_pixels = True

    @property
    def encoded(self) -> Encoded:
        found = super().encoded
        return attrs.evolve(found, channels=found.channels * math.prod(self.folded))

    def encode_integers(self, view: Tensor) -> Tensor:
        return _folded(super().encode_integers(view), *self.folded)


def _factors(view: ImageSpec, image: ImageSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    """The factors of height and width by which a condition is shrunk and then enlarged to the size of the image."""
    shrink, enlarge = [], []
    for own, wanted in zip(view.shape[1:], image.shape[1:], strict=True):
        if own % wanted and wanted % own:
            raise UserError(
                f"the height and width of the condition {view} must be whole multiples of those of each factor's "
                f"images, or the reverse; got images of {image}"
            )
        shrink.append(max(1, own // wanted))
        enlarge.append(max(1, wanted // own))
    return (shrink[0], shrink[1]), (enlarge[0], enlarge[1])


def _folded(x: Tensor, rows: int, columns: int) -> Tensor:
    """Moves the pixels of each rectangle of `rows` × `columns` pixels into channels of one pixel."""
    return rearrange(x, "b c (h rows) (w columns) -> b (c rows columns) h w", rows=rows, columns=columns)
