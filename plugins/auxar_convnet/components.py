"""The options of the networks `convnet` in a recipe, and the functions that build the networks from them."""

from functools import partial

import attrs

from auxar import Embedding, HeadChoice, ImageSpec, at_most, positive
from auxar_convnet.embedding import ConvEmbedding
from auxar_convnet.network import ConvNetwork
from auxar_heads import logistic_mixture
from auxar_pixelcnn.components import MOST_BLOCKS, MOST_FILTERS, built, enlargement, options, rate


@attrs.frozen
class ConvNetworkConfig:
    """One stream of residual blocks with dense convolutions, without weight normalization."""

    filters: int = attrs.field(default=64, validator=[positive, at_most(MOST_FILTERS)])
    """Number of channels of the stream, 1 … 16384."""
    hidden: int = attrs.field(default=64, validator=[positive, at_most(MOST_FILTERS)])
    """Number of hidden channels of each block, 1 … 16384."""
    blocks: int = attrs.field(default=8, validator=[positive, at_most(MOST_BLOCKS)])
    """Number of residual blocks, 1 … 256."""
    dropout: float = rate(0.0)
    """Dropout rate inside every block in training, 0 ≤ rate < 1."""
    noise: float = rate(0.0)
    """Share of the images in training of which the network sees a random part of the pixels replaced by noise,
    0 ≤ noise < 1. It keeps samples from falling into noise after an unlikely pixel, and costs some bits/dim."""
    gaussian_noise: float = rate(0.0)
    """Share of the images in training of which the network sees all pixels with Gaussian noise,
    0 ≤ gaussian_noise < 1. Its standard deviation is drawn for the image, from 0 to 6 of 256 levels. It makes samples
    more like held-out images, and costs fewer bits/dim than `noise`."""
    head: HeadChoice = attrs.field(factory=logistic_mixture)
    """Head (distribution of a pixel), such as `logistic_mixture` or `softmax`, with its options."""


@attrs.frozen
class ConvEmbeddingConfig:
    """One stream of residual blocks at the resolution of the view, whose features are enlarged at the end."""

    filters: int = attrs.field(default=64, validator=[positive, at_most(MOST_FILTERS)])
    """Number of channels of the stream and of the learned features, 1 … 16384."""
    hidden: int = attrs.field(default=128, validator=[positive, at_most(MOST_FILTERS)])
    """Number of hidden channels of each block, 1 … 16384."""
    blocks: int = attrs.field(default=4, validator=[positive, at_most(MOST_BLOCKS)])
    """Number of residual blocks, 1 … 256."""
    dropout: float = rate(0.0)
    """Dropout rate inside every block in training, 0 ≤ rate < 1."""
    grid: int = attrs.field(default=0, validator=attrs.validators.in_((0, 2, 4, 8, 16)))
    """Side of squares in pixels: 0 (none), 2, 4, 8 or 16. The embedding knows the place of each pixel in its square.
    With 8, it sees the blocks of JPEG files, if all images were cut from them at the same place modulo 8, and if
    training does not flip them."""


network = partial(built, ConvNetwork)
"""The function that builds the network `convnet`."""


def embedding(config: ConvEmbeddingConfig, view: ImageSpec, image: ImageSpec) -> Embedding:
    """Builds the embedding `convnet`.

    Raises `UserError` if the height or width of the image is no multiple of the view's.
    """
    return ConvEmbedding(view, image, factor=enlargement(view, image), **options(config))
