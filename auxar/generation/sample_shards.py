"""Drawing images in shards: each draws a range of the images, and all of them are merged when they are done."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from auxar.distributed.processes import Processes
from auxar.distributed.shards import Shard
from auxar.errors import UserError
from auxar.files import DamagedFile, entries, is_file, remove, write_json
from auxar.generation.conditions import Conditions
from auxar.generation.sample_folder import (
    MARK,
    PICTURE,
    SHARDS,
    begun_with,
    check_samples,
    files_of_samples,
    is_sampled,
)
from auxar.generation.samples import FirstImages, draw_to_folder, picture_path, write_sheets
from auxar.interfaces import Prior, Sampler
from auxar.locks import holding, note_of
from auxar.recipe import SamplingConfig
from auxar.runs.lock import LOCK
from auxar.runs.shards import ShardFiles

logger = logging.getLogger("auxar")

NAME = "samples"
"""Beginning of the names of the files with the results of shards."""
SECONDS = "seconds"
"""Metadata key of the time that drawing a shard's images took."""


def shards_folder(folder: Path) -> Path:
    """The folder of the results of the shards of the images in `folder`."""
    return folder / SHARDS


def sample_files(folder: Path, command: str, work: Mapping[str, Any]) -> ShardFiles:
    """The files with the results of the shards of the images in `folder`, for the arguments of `ShardFiles`."""
    return ShardFiles(shards_folder(folder), NAME, command, work)


def numbers_of(shard: Shard, config: SamplingConfig) -> range:
    """The numbers of a shard's images, which begin at a multiple of `config.batch_size`.

    They are therefore drawn in the same batches as without shards.
    """
    batches = math.ceil(config.images / config.batch_size)
    first, last = (batches * number // shard.count for number in (shard.number - 1, shard.number))
    return range(first * config.batch_size, min(last * config.batch_size, config.images))


def check_shards(folder: Path, files: ShardFiles) -> None:
    """Checks a folder before images of a shard are written into it, where others of the same work may be at work.

    Raises `UserError` if the folder holds other samples, or files that are not samples.
    """
    if begun_with(folder) == files.digest:
        return
    try:
        check_samples(folder)
    except UserError:
        # Another shard may have begun in the meantime, and its files are not those of an earlier call.
        if begun_with(folder) != files.digest:
            raise
    else:
        if is_sampled(folder) and begun_with(folder) != files.digest:
            raise UserError(f"{folder} holds samples of another call; choose another folder with --out")


def draw_shard(
    model: Prior,
    config: SamplingConfig,
    sampler: Sampler,
    folder: Path,
    accelerator: Accelerator,
    conditions: Conditions,
    shard: Shard,
    files: ShardFiles,
    processes: Processes,
) -> None:
    """Draws a shard's images, in all processes together. A shard that is done is kept.

    The caller holds the lock of the shard. Raises `UserError` if the folder holds other samples.
    """
    numbers = numbers_of(shard, config)
    with processes.agreeing() as facts:
        is_done = files.is_done(shard) and all(is_file(picture_path(folder, number)) for number in numbers)
        facts["whether the shard is done"] = is_done
    if is_done:
        logger.info("the shard %s is already done: %s", shard, files.path(shard))
        return

    def start() -> None:
        if accelerator.is_main_process:
            with holding(files.folder / LOCK, "begin to draw", "choose a folder on another file system"):
                check_shards(folder, files)
                mark = {"rule": config.rule, "seed": config.seed, "count": config.images, SHARDS: files.digest}
                if begun_with(folder) != files.digest:
                    write_json(folder / MARK, mark)
        accelerator.wait_for_everyone()

    started = time.perf_counter()
    first = draw_to_folder(model, config, sampler, folder, accelerator, conditions, numbers, start)
    if accelerator.is_main_process:
        tensors = {f"view{depth}": view for depth, view in enumerate(first.views)}
        tensors["numbers"] = torch.tensor(first.numbers, dtype=torch.int64)
        tensors["bits_per_dim"] = torch.tensor(first.bits_per_dim, dtype=torch.float64)
        files.write(shard, tensors, {SECONDS: str(time.perf_counter() - started)})
        logger.info("the shard %s is done: %s", shard, files.path(shard))
    accelerator.wait_for_everyone()


def merge_shards(
    model: Prior, config: SamplingConfig, folder: Path, conditions: Conditions, count: int, files: ShardFiles
) -> None:
    """Writes the sheets and `samples.json` of images that all of `count` shards have drawn, and removes their results.

    The caller holds the lock of the folder. Raises `UserError`, and changes nothing, if a shard or a picture is
    missing, or if the folder holds other files, and `DamagedFile` if the result of a shard is damaged.
    """
    read = files.read(count)
    files_of_samples(folder)
    found = {path.name for path in entries(folder / "images") if PICTURE.fullmatch(path.name)}
    for number in range(count):
        shard = Shard(number + 1, count)
        for path in (picture_path(folder, each) for each in numbers_of(shard, config)):
            if path.name not in found:
                raise UserError(f"{path} is missing; draw it again with `{files.command_of(shard)}`")
            found.remove(path.name)
    if found:
        raise UserError(f"{folder / 'images' / min(found)} is not one of the {config.images} pictures; remove it")
    parts, seconds = [], 0.0
    for number, (tensors, metadata) in enumerate(read):
        try:
            views = [tensors[f"view{depth}"] for depth in range(len(model.specs))]
            parts.append(FirstImages(tensors["numbers"].tolist(), views, tensors["bits_per_dim"].tolist()))
            seconds += float(metadata[SECONDS])
        except (KeyError, ValueError):
            path = files.path(Shard(number + 1, count))
            raise DamagedFile(f"{path} is damaged: it does not have the first images") from None
    first = FirstImages(
        [number for part in parts for number in part.numbers],
        [torch.cat(views) for views in zip(*(part.views for part in parts), strict=True)],
        [bits for part in parts for bits in part.bits_per_dim],
    )
    write_sheets(model, config, folder, first, seconds, conditions)
    for path in (files.folder / LOCK, note_of(files.folder / LOCK)):
        remove(path)
    files.remove(count)
