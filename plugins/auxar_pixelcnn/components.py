"""The options of the PixelCNN++ networks in a recipe, and the functions that build the networks from them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from auxar import CausalNetwork, Embedding, HeadChoice, ImageSpec, UserError, at_most, positive
from auxar_heads import logistic_mixture
from auxar_layers.convolution_gradients import Pair
from auxar_pixelcnn.condition import CategoriesEmbedding, PixelsEmbedding
from auxar_pixelcnn.embedding import EnlargingEmbedding, SameSizeEmbedding
from auxar_pixelcnn.networks import FullNetwork, LightNetwork

MOST_FILTERS = 16_384
MOST_BLOCKS = 256
MOST_BLOCKS_OF_A_GROUP = 64


def rate(default: float = 0.5) -> Any:
    """A field with a share of dropped or changed values, 0 ≤ rate < 1."""
    return attrs.field(default=default, validator=[attrs.validators.ge(0.0), attrs.validators.lt(1.0)])


@attrs.frozen
class LightConfig:
    """PixelCNN++ at one resolution, without down- and upsampling."""

    filters: int = attrs.field(default=100, validator=[positive, at_most(MOST_FILTERS)])
    """Number of channels of every layer, 1 … 16384."""
    blocks: int = attrs.field(default=3, validator=[positive, at_most(MOST_BLOCKS)])
    """Number of residual blocks of each of the two streams, 1 … 256."""
    dropout: float = rate()
    """Dropout rate inside every block in training, 0 ≤ rate < 1."""
    head: HeadChoice = attrs.field(factory=logistic_mixture)
    """Head (distribution of a pixel), such as `logistic_mixture` or `softmax`, with its options."""
    kernel: int = attrs.field(default=2, validator=attrs.validators.in_((2, 3)))
    """Number of rows that the causal convolutions of the blocks read, 2 or 3. With 2, as in PixelCNN++, kernels are 2×3
    in the stream of the rows above a pixel, and 2×2 in the other stream. With 3, as in the released code of the pyramid
    model, they are 3×3 in both."""


@attrs.frozen
class FullConfig:
    """PixelCNN++ with three resolutions and skip connections."""

    filters: int = attrs.field(default=160, validator=[positive, at_most(MOST_FILTERS)])
    """Number of channels of every layer, 1 … 16384."""
    nr_resnet: int = attrs.field(default=5, validator=[positive, at_most(MOST_BLOCKS_OF_A_GROUP)])
    """Number of residual blocks of each stream at each resolution on the way down, 1 … 64. On the way up, the two finer
    resolutions have one more. The original PixelCNN++ has 5 ("36 blocks" with resampling layers), the paper uses 3 ("24
    blocks")."""
    dropout: float = rate()
    """Dropout rate inside every block in training, 0 ≤ rate < 1."""
    head: HeadChoice = attrs.field(factory=logistic_mixture)
    """Head (distribution of a pixel), such as `logistic_mixture` or `softmax`, with its options."""
    kernel: int = attrs.field(default=2, validator=attrs.validators.in_((2, 3)))
    """Number of rows that the causal convolutions of the blocks read, 2 or 3. With 2, as in PixelCNN++, kernels are 2×3
    in the stream of the rows above a pixel, and 2×2 in the other stream. With 3, as in the released code of the pyramid
    model, they are 3×3 in both."""


@attrs.frozen
class EmbeddingConfig:
    """One stream of ordinary residual blocks, which upsamples its features if the view is smaller than the image."""

    filters: int = attrs.field(default=100, validator=[positive, at_most(MOST_FILTERS)])
    """Number of channels of every layer and of the features, 1 … 16384."""
    blocks_per_group: int = attrs.field(default=3, validator=[positive, at_most(MOST_BLOCKS_OF_A_GROUP)])
    """Number of residual blocks of each group, 1 … 64. There are five groups if the view is smaller than the image,
    otherwise six, of which the last two have one more block."""
    dropout: float = rate()
    """Dropout rate inside every block in training, 0 ≤ rate < 1."""


@attrs.frozen
class CategoriesConfig:
    """An embedding of a condition of categories: a label, attributes or a mask."""

    filters: int = attrs.field(default=32, validator=[positive, at_most(MOST_FILTERS)])
    """Number of channels of the features, 1 … 16384."""
    blocks: int = attrs.field(default=0, validator=[attrs.validators.ge(0), at_most(MOST_BLOCKS)])
    """Number of residual blocks, 0 … 256. They mix neighboring pixels of a mask. Labels and attributes need none."""
    dropout: float = rate()
    """Dropout rate inside every block in training, 0 ≤ rate < 1."""


@attrs.frozen
class PixelsConfig:
    """An embedding of a condition that is an image."""

    filters: int = attrs.field(default=64, validator=[positive, at_most(MOST_FILTERS)])
    """Number of channels of every layer and of the features, 1 … 16384."""
    blocks: int = attrs.field(default=3, validator=[attrs.validators.ge(0), at_most(MOST_BLOCKS)])
    """Number of residual blocks, 0 … 256."""
    dropout: float = rate()
    """Dropout rate inside every block in training, 0 ≤ rate < 1."""


def built(
    network: Callable[..., CausalNetwork], config: Any, image: ImageSpec, features_channels: int = 0
) -> CausalNetwork:
    """Builds a network from a config with a head. Raises `UserError` if the head refuses the image."""
    return network(image, config.head.build(image), features_channels=features_channels, **options(config))


def options(config: attrs.AttrsInstance) -> dict[str, Any]:
    """The options of a config other than the head, for the class that it configures."""
    return attrs.asdict(config, recurse=False, filter=lambda field, _: field.name != "head")


light, full = partial(built, LightNetwork), partial(built, FullNetwork)
"""The functions that build the networks `pixelcnn` (one resolution) and `pixelcnn++` (three)."""


def _of_condition(kind: Callable[..., Embedding], config: Any, view: ImageSpec, image: ImageSpec) -> Embedding:
    return kind(view, image, **options(config))


categories, pixels = partial(_of_condition, CategoriesEmbedding), partial(_of_condition, PixelsEmbedding)
"""The functions that build the embeddings of conditions."""


def embedding(config: EmbeddingConfig, view: ImageSpec, image: ImageSpec) -> Embedding:
    """Builds the embedding `resnet`, with upsampling if the view is smaller than the image.

    Raises `UserError` if the height and width of the image are not the same multiple of the view's.
    """
    factor = enlargement(view, image)
    if isinstance(factor, tuple):
        expected = "the height and width of the image must be the same multiple of those of its view"
        raise UserError(f"{expected} {view}, got {image}; the embedding 'convnet' accepts two multiples")
    own: dict[str, Any] = {"filters": config.filters, "blocks": config.blocks_per_group, "dropout": config.dropout}
    if factor == 1:
        return SameSizeEmbedding(view, image, **own)
    return EnlargingEmbedding(view, image, factor=factor, **own)


def enlargement(view: ImageSpec, image: ImageSpec) -> Pair:
    """Returns the smallest factor by which the view's height and width must be multiplied to cover those of the image.

    If there is no such factor for both, it returns one for the height and one for the width. Raises `UserError` unless
    the view has ⌈height / factor⌉ × ⌈width / factor⌉ pixels.
    """
    rows, columns = -(-image.height // view.height), -(-image.width // view.width)
    for factor in (max(rows, columns),) * 2, (rows, columns):
        if (-(-image.height // factor[0]), -(-image.width // factor[1])) == (view.height, view.width):
            return factor if factor[0] != factor[1] else factor[0]
    raise UserError(f"the height and width of the image must be multiples of those of its view {view}, got {image}")
