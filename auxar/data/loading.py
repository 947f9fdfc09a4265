"""Loads images from a folder, from parquet files or from the Hugging Face hub."""

from collections.abc import Iterable
from pathlib import Path

import attrs
import numpy as np
from datasets import Dataset

from auxar.data.conditions import ConditionReader, condition_reader
from auxar.data.conversion import Preparation
from auxar.data.crops import Crops
from auxar.data.decoding import warn_of_depth
from auxar.data.library import progress_in_main_process
from auxar.data.sets import DataSets, ImageSet
from auxar.data.source import Source, open_source
from auxar.data.splits import Side, divided_rows, sides_of_stream
from auxar.data.stored import StoredImages, prepare, usable_rows
from auxar.data.streamed import StreamedImages
from auxar.errors import UserError, naming, one_line
from auxar.model import ImageSpec
from auxar.plugin_paths import built_path
from auxar.plugins import Registry
from auxar.recipe import DataConfig, Recipe
from auxar.recipe.building import build_views, stride_of
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.data_config import FactorData
from auxar.recipe.data_options import data_set_config
from auxar.recipe.paths import local_path


def images_of(recipe: Recipe, own: FactorData | None = None) -> DataSets:
    """Loads the images of a recipe, or the `own` data set of one of its factors, as `load_images` does."""
    config, depth = (recipe.data, 0) if own is None else (own, own.depth)
    views = build_views(recipe) if depth or config.crop.random else []
    image = views[depth - 1].view if depth else recipe.image
    stride = stride_of(views[depth:])
    return load_images(config, image, recipe.registry, recipe.condition, stride=stride, conditioned=recipe.image)


def with_own_data(data: DataSets, recipe: Recipe, factors: Iterable[str]) -> DataSets:
    """The images of a recipe with the own data sets of these factors, of those that have one.

    Raises `UserError` like `load_images`, and if a held-out image of `data` is among the training images of a factor.
    Files are compared, which views do not share with images, so only images at depth 0 that are stored are compared.
    """
    found = {}
    for factor in factors:
        if (own := recipe.training_of(factor).data) is not None:
            key = recipe.training_key(factor)
            with naming(key):
                found[factor] = images_of(recipe, own)
            if own.depth == 0:
                _check_apart(found[factor].train, data.heldout, f"{key}.data")
    return attrs.evolve(data, own=found)


def _check_apart(own: ImageSet, heldout: ImageSet, key: str) -> None:
    if not isinstance(own, StoredImages) or not isinstance(heldout, StoredImages):
        return
    sources = set(heldout.sources)
    if leaked := [number for number, source in enumerate(own.sources) if source in sources]:
        raise UserError(
            f"{key}: {len(leaked):,} of its training images are held-out images of [data], such as "
            f"{one_line(own.name(leaked[0]))}; leave them out, for example with {key}.heldout, a split that is not used"
        )


def load_images(
    config: DataConfig,
    image: ImageSpec,
    registry: Registry,
    condition: ConditionConfig | None = None,
    *,
    stride: tuple[int, int] = (1, 1),
    conditioned: ImageSpec | None = None,
) -> DataSets:
    """Loads the images that `config` describes, as integers with the shape and levels of `image`.

    These are training and held-out images and, if `config` asks for them, validation images. With `condition`, each
    image comes with its condition, as images of the shape `conditioned` have it, which is `image` by default. Random
    crops begin at multiples of `stride`, numbers of rows and columns.

    If `config.path` is the name of a data set in `registry`, this data set is built with `config.options`. A registered
    name takes precedence over a folder or hub data set of the same name.

    Without streaming, the first call converts all images and stores them in the cache of `datasets`; later calls read
    the cache. If several processes call at the same time, one converts and the others wait.

    Raises `UserError` if the source cannot be found, built or read, or if the split or column is unknown. Without
    streaming, it is also raised if an image does not fit `image`, if an image is broken and `config.broken` is not
    "skip", if all images are broken, or if `config.split` leaves one of the sets empty. With streaming, it is also
    raised if one of the sets has no image; the images of a stream are checked when they are read.
    """
    try:
        preparation = Preparation.of(image, config, Crops(image, stride) if config.crop.random else None)
        reader = condition_reader(condition, conditioned or image, config)
        _check_names(config)
        with progress_in_main_process():
            source = open_source(config, place_of(config, registry), registry.names("dataset"), condition)
            found = (_streamed if config.streaming else _stored)(config, preparation, reader, source)
            for images in (found.train, found.heldout, found.validation):
                if images is not None and images.reduced:  # A stream without images raises an error here.
                    warn_of_depth(config.path)
            return found
    except UserError as error:
        # The message may contain names from an untrusted data set. Text after a line break in such a name could imitate
        # a message of auxar, so line breaks are escaped.
        raise UserError(one_line(str(error))) from error


def place_of(config: DataConfig, registry: Registry) -> Path | None:
    """The file or folder of a data set, which is built if it is registered; None if it may be on the hub."""
    options = data_set_config(config, registry)
    if options is None:
        return local_path(config.path, registry.names("dataset"))
    return built_path(registry, "dataset", config.path, f"data.path ('{config.path}')", options)


def _check_names(config: DataConfig) -> None:
    """Raises `UserError` if two of the splits for training, validation and held-out images are the same."""
    if config.heldout == config.train:
        raise UserError(
            f"data.heldout: '{config.heldout}' is also the training split (data.train); choose another split, "
            "or remove data.heldout so that data.split divides the training split"
        )
    for key, other in (("train", config.train), ("heldout", config.heldout)):
        if config.validation is not None and config.validation == other:
            raise UserError(
                f"data.validation: '{other}' is also the split of data.{key}; choose another split, or replace "
                "data.validation by data.split.validation, a fraction of the training images"
            )


def _stored(config: DataConfig, preparation: Preparation, reader: ConditionReader | None, source: Source) -> DataSets:
    names: list[str] = []

    def opened(split: str) -> tuple[Dataset, np.ndarray]:
        prepared = prepare(source.images(config, split, reader), preparation)
        rows, skipped = usable_rows(prepared, f"the split '{split}' of {config.path}", config.broken == "skip")
        names.extend(skipped)
        return prepared, rows

    training, rows = opened(config.train)
    parts = divided_rows(config, rows)

    def images(part: np.ndarray | None, split: str | None) -> StoredImages | None:
        """The images of this part of the training split or, if it is None, of the named split."""
        if part is not None:
            return StoredImages.of(training, part, preparation, reader)
        return None if split is None else StoredImages.of(*opened(split), preparation, reader)

    validation, heldout = images(parts.validation, config.validation), images(parts.heldout, config.heldout)
    assert heldout is not None, "held-out images are a part of the training split unless they are a named split"
    return DataSets(StoredImages.of(training, parts.train, preparation, reader), heldout, tuple(names), validation)


def _streamed(config: DataConfig, preparation: Preparation, reader: ConditionReader | None, source: Source) -> DataSets:
    def stream(split: str, side: Side | None) -> StreamedImages:
        images, size = source.images(config, split, reader), (preparation.image, preparation.crops)
        skips, own = config.broken == "skip", config.shards == "own"
        return StreamedImages(images, preparation, *size, side or Side(), skips, config.shuffle_buffer, own)

    sides = sides_of_stream(config)
    train = stream(config.train, sides.train)
    heldout = stream(config.heldout or config.train, sides.heldout)
    validation = None
    if config.validation is not None or sides.validation is not None:
        validation = stream(config.validation or config.train, sides.validation)
    return DataSets(train, heldout, (), validation)
