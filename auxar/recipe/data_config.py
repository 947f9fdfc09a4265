"""The frozen classes of a recipe's data sets: [data], and those of single factors."""

from collections.abc import Mapping
from typing import Any

import attrs
from attrs.validators import ge, optional

from auxar.numerics.levels import SCALED, VALUES
from auxar.validation import at_least, at_most, below, one_of, positive

MOST_WORKERS = 256
"""Maximum number of processes that read images."""
RESIZES = ("none", "cover", "stretch")
"""The values of `data.resize`."""


@attrs.frozen
class Crop:
    """Margins in pixels that are cut off from each image before it is resized.

    With `random`, for which the text `random` is short, training draws crops of images of their own sizes.
    """

    left: int = attrs.field(default=0, validator=ge(0))
    right: int = attrs.field(default=0, validator=ge(0))
    top: int = attrs.field(default=0, validator=ge(0))
    bottom: int = attrs.field(default=0, validator=ge(0))
    random: bool = attrs.field(default=False, repr=False)
    """Whether images keep their own sizes. Training then draws a crop of the size of [image] at a random place of each
    image, and images are evaluated whole. It requires networks that work at any size."""


@attrs.frozen
class Split:
    """A random division of one set of images into training images, validation images and held-out images."""

    train: float = attrs.field(default=0.95, validator=[positive, below(1)])
    """Fraction of the images that is used for training, greater than 0 and less than 1."""
    seed: int = 0
    """Seed of the random division."""
    validation: float = attrs.field(default=0.0, validator=[at_least(0), below(1)])
    """Fraction of the training images that is kept apart as validation images, at least 0 and less than 1. Held-out
    images are the same for every fraction."""


@attrs.frozen
class DataConfig:
    """The table [data]: the source of the images, and their conversion to the size and channels of [image]."""

    path: str = attrs.field(validator=attrs.validators.min_len(1))
    """The source: a registered data set, a folder of images, a parquet file, a folder of parquet files, or a data set
    on the Hugging Face hub. A path is relative to the recipe's folder."""
    options: Mapping[str, Any] = attrs.field(factory=dict)
    """Options of the registered data set that `path` names. Other sources have no options."""
    config: str | None = None
    """Name of the data set's configuration, for sets that have several."""
    train: str = "train"
    """Name of the data set's split that is used for training."""
    heldout: str | None = None
    """Name of the data set's split of held-out images. If it is not given, `split` divides the training split."""
    validation: str | None = None
    """Name of the data set's split of validation images, which `training.evaluate_every` evaluates. It is an
    alternative to `split.validation`. There are no validation images if neither is given."""
    split: Split = attrs.field(factory=Split)
    column: str | None = None
    """Name of the column with the images. If it is not given, the column is found by its type."""
    crop: Crop = attrs.field(factory=Crop)
    resize: str = attrs.field(default="none", validator=one_of(*RESIZES))
    """How an image of another size than [image] is resized: `none` reports an error, `cover` scales the image until it
    covers the size and crops the center, `stretch` scales width and height independently."""
    values: str = attrs.field(default=SCALED, validator=one_of(*VALUES))
    """The meaning of pixels if `image.levels` is below 256: `scaled` converts their values, from 0 to 255, to levels.
    `levels` takes the values as they are, from 0 to levels - 1, and reports an error for others."""
    broken: str = attrs.field(default="error", validator=one_of("error", "skip"))
    """How an image that cannot be read is handled: `error` ends the run and names the image, `skip` leaves it out and
    reports it."""
    limit: int | None = attrs.field(default=None, validator=optional(positive))
    """Number of images to use from each split, counted from its beginning. All are used if it is not given."""
    streaming: bool = False
    """Whether images are read when they are needed instead of converted in advance, for sets larger than the disk."""
    shuffle_buffer: int = attrs.field(default=10_000, validator=positive)
    """Number of encoded images that are kept in memory to shuffle a stream."""
    shards: str = attrs.field(default="all", validator=one_of("all", "own"))
    """Which files (shards) of a stream each of several processes reads for training: `all`, of which it decodes its
    share of every batch, or its `own`, so that batches depend on the number of processes."""
    workers: int = attrs.field(default=0, validator=[ge(0), at_most(MOST_WORKERS)])
    """Number of processes that read batches ahead during training, 0 … 256. If it is 0, the training process reads them
    itself. A stream uses at most one."""


@attrs.frozen
class FactorData(DataConfig):
    """A data set of its own that a factor is trained on, with the keys of [data], which it does not inherit."""

    depth: int = attrs.field(default=0, validator=ge(0))
    """Depth of the images of this data set: 0 for images, k for their k-th views."""
