"""What a recipe can set of the networks, and how they are built from it."""

from __future__ import annotations

from typing import Any

import attrs

from auxar import CausalDecoder, CausalPrior, Embedding, HeadChoice, ImageSpec, UserError, at_most, positive
from auxar_heads import logistic_mixture, upgraded
from auxar_pixelcnn.embedding import EnlargingEmbedding, SameSizeEmbedding
from auxar_pixelcnn.networks import FullNetwork, LightNetwork

MOST_FILTERS = 16_384
MOST_BLOCKS = 256
MOST_BLOCKS_OF_A_GROUP = 64


def _rate() -> Any:
    return attrs.field(default=0.5, validator=[attrs.validators.ge(0.0), attrs.validators.lt(1.0)])


@attrs.frozen
class LightConfig:
    """PixelCNN++ at one resolution, without down- and upsampling."""

    filters: int = attrs.field(default=100, validator=[positive, at_most(MOST_FILTERS)])
    """Channels of every layer, 1 … 16384."""
    blocks: int = attrs.field(default=3, validator=[positive, at_most(MOST_BLOCKS)])
    """Residual blocks of each stream, 1 … 256."""
    dropout: float = _rate()
    """Share of values dropped inside every block while training."""
    head: HeadChoice = attrs.field(factory=logistic_mixture)
    """Distribution of a pixel: a head such as logistic_mixture or softmax, with its options."""

    upgraded = staticmethod(upgraded)


@attrs.frozen
class FullConfig:
    """PixelCNN++ with three resolutions and skip connections."""

    filters: int = attrs.field(default=160, validator=[positive, at_most(MOST_FILTERS)])
    """Channels of every layer, 1 … 16384."""
    nr_resnet: int = attrs.field(default=5, validator=[positive, at_most(MOST_BLOCKS_OF_A_GROUP)])
    """Residual blocks for each resolution, 1 … 64; 5 are the "36 blocks" of PixelCNN++, 3 the "24" of the paper."""
    dropout: float = _rate()
    """Share of values dropped inside every block while training."""
    head: HeadChoice = attrs.field(factory=logistic_mixture)
    """Distribution of a pixel: a head such as logistic_mixture or softmax, with its options."""

    upgraded = staticmethod(upgraded)


@attrs.frozen
class EmbeddingConfig:
    """One stream of ordinary residual blocks, at the view's size or enlarging to the image's."""

    filters: int = attrs.field(default=100, validator=[positive, at_most(MOST_FILTERS)])
    """Channels of every layer and of the features, 1 … 16384."""
    blocks_per_group: int = attrs.field(default=3, validator=[positive, at_most(MOST_BLOCKS_OF_A_GROUP)])
    """Residual blocks of each group, 1 … 64; enlarging, there are five groups, at the same size six."""
    dropout: float = _rate()
    """Share of values dropped inside every block while training."""


def _light(config: LightConfig, image: ImageSpec, features_channels: int) -> LightNetwork:
    return LightNetwork(
        image,
        config.head.build(image),
        filters=config.filters,
        blocks=config.blocks,
        features_channels=features_channels,
        dropout=config.dropout,
    )


def _full(config: FullConfig, image: ImageSpec, features_channels: int) -> FullNetwork:
    return FullNetwork(
        image,
        config.head.build(image),
        filters=config.filters,
        nr_resnet=config.nr_resnet,
        features_channels=features_channels,
        dropout=config.dropout,
    )


def light_prior(config: LightConfig, image: ImageSpec) -> CausalPrior:
    """p(X̂), light."""
    return CausalPrior(_light(config, image, 0))


def full_prior(config: FullConfig, image: ImageSpec) -> CausalPrior:
    """p(X̂), full."""
    return CausalPrior(_full(config, image, 0))


def light_decoder(config: LightConfig, image: ImageSpec, features_channels: int) -> CausalDecoder:
    """p(X | X̂), light."""
    return CausalDecoder(_light(config, image, features_channels))


def full_decoder(config: FullConfig, image: ImageSpec, features_channels: int) -> CausalDecoder:
    """p(X | X̂), full."""
    return CausalDecoder(_full(config, image, features_channels))


def embedding(config: EmbeddingConfig, view: ImageSpec, image: ImageSpec) -> Embedding:
    """f_w, in the form that fits the view. Raises `UserError` if the image is not a whole number of times as large."""
    factor = image.height // view.height
    if (view.height * factor, view.width * factor) != (image.height, image.width):
        raise UserError(f"needs an image a whole number of times the size of its view {view}, got {image}")
    filters, blocks, dropout = config.filters, config.blocks_per_group, config.dropout
    if factor == 1:
        return SameSizeEmbedding(view, image, filters=filters, blocks=blocks, dropout=dropout)
    return EnlargingEmbedding(view, image, factor=factor, filters=filters, blocks=blocks, dropout=dropout)
