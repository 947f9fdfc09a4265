"""Images as integer tensors: any data set that Hugging Face `datasets` reads, brought to a recipe's [image]."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from auxar.data.batches import evaluation_batches, training_batches
from auxar.data.conversion import Preparation
from auxar.data.progress import progress_in_main_process
from auxar.data.randomness import permutation
from auxar.data.sets import DataSets, ImageSet
from auxar.data.source import Source, open_source
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


def load_images(config: DataConfig, image: ImageSpec, registered: Mapping[str, Path]) -> DataSets:
    """The training and held-out images that `config` describes, as integers of the shape and range of `image`.

    `registered` maps the names of data sets that plugins provide to a parquet file or a folder; such a name wins over
    a folder or hub name spelt the same. Stored images are prepared on the first call and found in the cache of
    `datasets` later; processes that call at the same time wait for the one that prepares.

    Raises `UserError` for a source that cannot be found or read, an unknown split or column, images that do not fit
    `image`, broken images unless `config.broken` is "skip", and a split that leaves one side empty.
    """
    try:
        preparation = Preparation(image, config.crop, config.resize)
        if config.heldout == config.train:
            raise UserError(f"data.heldout: '{config.heldout}' is the split to train on; name another or leave it out")
        with progress_in_main_process():
            source = open_source(config, registered)
            return (_streamed if config.streaming else _stored)(config, preparation, source)
    except UserError as error:
        # Of paths and names in it, a stranger's may hold new lines, and what stands in those looks like ours.
        raise UserError(one_line(str(error))) from error


def _stored(config: DataConfig, preparation: Preparation, source: Source) -> DataSets:
    training = prepare(source.images(config, config.train), preparation)
    rows, skipped = usable_rows(training, f"{config.path}, split '{config.train}'", config.broken == "skip")
    if config.heldout is not None:
        other = prepare(source.images(config, config.heldout), preparation)
        other_rows, more = usable_rows(other, f"{config.path}, split '{config.heldout}'", config.broken == "skip")
        heldout = StoredImages.of(other, other_rows, preparation)
        return DataSets(StoredImages.of(training, rows, preparation), heldout, skipped + more)
    count = round(config.split.train * len(rows))
    if not 0 < count < len(rows):
        advice = f"use {min(max(count, 1), len(rows) - 1) / len(rows):.4g}" if len(rows) > 1 else "add images"
        raise UserError(
            f"data.split.train: a share of {config.split.train} of {len(rows)} images puts {count} into training and "
            f"{len(rows) - count} into the held-out set, and each needs at least 1; {advice}"
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
        return DataSets(stream(config.train, None), stream(config.heldout, None), ())
    split = config.split
    return DataSets(
        stream(config.train, Assignment(split.seed, split.train, train=True)),
        stream(config.train, Assignment(split.seed, split.train, train=False)),
        (),
    )
