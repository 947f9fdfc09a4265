"""Loads images from a folder, from parquet files or from the Hugging Face hub, and converts them to integer tensors.

The table [image] of a recipe gives the size, channels and levels of the tensors.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from auxar.data.batches import evaluation_batches, training_batches
from auxar.data.conversion import Preparation
from auxar.data.copies import DamagedCopy
from auxar.data.progress import progress_in_main_process
from auxar.data.randomness import permutation
from auxar.data.sets import DataSets, ImageSet
from auxar.data.source import Source, open_source
from auxar.data.space import disk_problem
from auxar.data.stored import StoredImages, prepare, usable_rows
from auxar.data.streamed import Assignment, StreamedImages
from auxar.errors import UserError, one_line
from auxar.interfaces import ImageSpec
from auxar.recipe import DataConfig

__all__ = [
    "DataSets",
    "ImageSet",
    "StoredImages",
    "StreamedImages",
    "evaluation_batches",
    "load_images",
    "training_batches",
]


logger = logging.getLogger("auxar")


def load_images(config: DataConfig, image: ImageSpec, registered: Mapping[str, Path]) -> DataSets:
    """Loads the training and held-out images that `config` describes, as integers with the shape and levels of `image`.

    `registered` maps the name of each data set that a plugin provides to its parquet file or folder. A registered name
    takes precedence over a folder or hub data set of the same name.

    Without streaming, the first call converts all images and stores them in the cache of `datasets`; later calls read
    the cache. If several processes call at the same time, one converts and the others wait.

    Raises `UserError` if the source cannot be found or read, or if the split or column is unknown. Without streaming,
    it is also raised if an image does not fit `image`, if an image is broken and `config.broken` is not "skip", if all
    images are broken, or if `config.split` leaves one of the sets empty. With streaming, it is also raised if one of
    the sets has no image; the images of a stream are checked when they are read.
    """
    try:
        preparation = Preparation(image, config.crop, config.resize)
        if config.heldout == config.train:
            raise UserError(
                f"data.heldout: '{config.heldout}' is also the training split (data.train); choose another split, "
                "or remove data.heldout so that data.split divides the training split"
            )
        with progress_in_main_process():
            source = open_source(config, registered)
            if config.streaming:
                return _streamed(config, preparation, source)
            try:
                return _stored(config, preparation, source)
            except DamagedCopy as error:
                logger.warning("%s; it is generated again", error)
                try:
                    error.copy.replace()
                except Exception as cause:  # The network, file formats and the disk all raise different exceptions.
                    problem = disk_problem(cause, "the copy of the data set") or cause.__cause__ or cause
                    raise UserError(f"{error}, and it cannot be generated again: {problem}") from cause
                return _stored(config, preparation, open_source(config, registered))
    except UserError as error:
        # The message may contain names from an untrusted data set. Text after a line break in such a name could imitate
        # a message of auxar, so line breaks are escaped.
        raise UserError(one_line(str(error))) from error


def _stored(config: DataConfig, preparation: Preparation, source: Source) -> DataSets:
    training = prepare(source.images(config, config.train), preparation)
    rows, skipped = usable_rows(training, f"the split '{config.train}' of {config.path}", config.broken == "skip")
    if config.heldout is not None:
        other = prepare(source.images(config, config.heldout), preparation)
        other_rows, more = usable_rows(other, f"the split '{config.heldout}' of {config.path}", config.broken == "skip")
        heldout = StoredImages.of(other, other_rows, preparation)
        return DataSets(StoredImages.of(training, rows, preparation), heldout, skipped + more)
    count = round(config.split.train * len(rows))
    if not 0 < count < len(rows):
        advice = f"use {min(max(count, 1), len(rows) - 1) / len(rows):.4g}" if len(rows) > 1 else "add images"
        raise UserError(
            f"data.split.train: {config.split.train} gives {count} training images and "
            f"{len(rows) - count} held-out images; each set needs at least 1; {advice}"
        )
    order = permutation(len(rows), "split", config.split.seed)
    return DataSets(
        StoredImages.of(training, rows[order[:count]], preparation),
        StoredImages.of(training, rows[order[count:]], preparation),
        skipped,
    )


def _streamed(config: DataConfig, preparation: Preparation, source: Source) -> DataSets:
    def stream(split: str, assignment: Assignment | None) -> StreamedImages:
        return StreamedImages.of(
            source.images(config, split), preparation, assignment, config.broken == "skip", config.shuffle_buffer
        )

    if config.heldout is not None:
        sets = stream(config.train, None), stream(config.heldout, None)
    else:
        split = config.split
        sets = (
            stream(config.train, Assignment(split.seed, split.train, train=True)),
            stream(config.train, Assignment(split.seed, split.train, train=False)),
        )
    for images in sets:
        images.check_not_empty()
    return DataSets(*sets, ())
