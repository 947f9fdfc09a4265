"""Drawing images in shards: each draws a range of the images, and all of them are merged when they are done."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from auxar.distributed.processes import Processes
from auxar.distributed.shards import Shard
from auxar.draw.plan import Plan
from auxar.draw.sample_folder import (
    MARK,
    PICTURE,
    SHARDS,
    advice_on_shards,
    begun_with,
    check_samples,
    files_of_samples,
    is_sampled,
)
from auxar.draw.samples import Facts, draw_pictures, mark_of, picture_path, write_sheets
from auxar.errors import UserError
from auxar.files import DamagedFile, entries, is_file, read_bytes, remove, write_json
from auxar.locks import holding, note_of
from auxar.model import Chain
from auxar.recipe import SamplingConfig
from auxar.runs.lock import LOCK
from auxar.runs.shards import ShardFiles, differences

logger = logging.getLogger("auxar")

NAME = "samples"
"""Beginning of the names of the files with the results of shards."""
SECONDS = "seconds"
"""Metadata key of the time that drawing a shard's images took."""
PICTURES = "pictures"
"""The tensor with the SHA-256 of the file of each of a shard's pictures: uint8, (pictures, 32)."""


def shards_folder(folder: Path) -> Path:
    """The folder of the results of the shards of the images in `folder`."""
    return folder / SHARDS


def sample_files(folder: Path, command: str, work: Mapping[str, Any]) -> ShardFiles:
    """The files with the results of the shards of the images in `folder`, for the arguments of `ShardFiles`."""
    return ShardFiles(shards_folder(folder), NAME, command, work)


def numbers_of(shard: Shard, images: int, batch_size: int) -> range:
    """The numbers of a shard's images, out of `images`, which begin at a multiple of `batch_size`.

    They are therefore drawn in the same batches as without shards.
    """
    batches = math.ceil(images / batch_size)
    first, last = (batches * number // shard.count for number in (shard.number - 1, shard.number))
    return range(first * batch_size, min(last * batch_size, images))


def check_shards(folder: Path, files: ShardFiles) -> None:
    """Checks a folder before images of a shard are written into it, where others of the same work may be at work.

    Raises `UserError` if the folder holds other samples, or files that are not samples.
    """
    try:
        if begun_with(folder) is None:
            check_samples(folder)
            if not is_sampled(folder):
                return
            raise UserError(f"{folder} holds samples of another call; choose another folder with --out")
    except UserError:
        # Another shard may have begun in the meantime, and its files are not those of an earlier call.
        if begun_with(folder) is None:
            raise
    for difference in differences(begun_with(folder), files.work):
        raise UserError(f"{folder} holds shards of other images: {difference}; {advice_on_shards(folder)}")


def draw_shard(
    model: Chain,
    plan: Plan,
    config: SamplingConfig,
    folder: Path,
    accelerator: Accelerator,
    shard: Shard,
    files: ShardFiles,
    processes: Processes,
) -> None:
    """Draws a shard's images, in all processes together. A shard that is done is kept.

    The caller holds the lock of the shard. Raises `UserError` if the folder holds other samples.
    """
    numbers = numbers_of(shard, len(plan.numbers), plan.batch_size)
    with processes.agreeing() as facts:
        tensors = files.done(shard)
        pictures = [picture_path(folder, plan, number) for number in numbers]
        problem = None if tensors is None else _problem(pictures, tensors)
        if problem is not None:
            logger.warning("%s; the shard %s is drawn again", problem, shard)
        is_done = facts["whether the shard is done"] = tensors is not None and problem is None
    if is_done:
        logger.info("the shard %s is already done: %s", shard, files.path(shard))
        return

    def start() -> None:
        if accelerator.is_main_process:
            with holding(files.folder / LOCK, "begin to draw", "choose a folder on another file system"):
                check_shards(folder, files)
                if begun_with(folder) is None:
                    write_json(folder / MARK, mark_of(plan, config) | {SHARDS: files.work})
        accelerator.wait_for_everyone()

    started = time.perf_counter()
    drawn = draw_pictures(model, plan, folder, accelerator, numbers, start)
    if accelerator.is_main_process:
        digests = [_sha256(picture) for picture in pictures]
        tensors = {key: torch.from_numpy(values) for key, values in drawn.items()}
        tensors[PICTURES] = torch.tensor(digests).to(torch.uint8)
        files.write(shard, tensors, {SECONDS: str(time.perf_counter() - started)})
        logger.info("the shard %s is done: %s", shard, files.path(shard))
    accelerator.wait_for_everyone()


def merge_shards(model: Chain, plan: Plan, config: SamplingConfig, folder: Path, count: int, files: ShardFiles) -> None:
    """Writes the sheets and `samples.json` of images that all of `count` shards have drawn, and removes their results.

    The caller holds the lock of the folder. Raises `UserError`, and changes nothing, if a shard or a picture is
    missing, if a picture is not the one that its shard drew, or if the folder holds other files, and `DamagedFile` if
    the result of a shard is damaged.
    """
    read = files.read(count)
    files_of_samples(folder)
    found = {path.name for path in entries(folder / "images") if PICTURE.fullmatch(path.name)}
    for number, (tensors, _) in enumerate(read):
        shard = Shard(number + 1, count)
        numbers = numbers_of(shard, len(plan.numbers), plan.batch_size)
        pictures = [picture_path(folder, plan, each) for each in numbers]
        if (problem := _problem(pictures, tensors)) is not None:
            raise UserError(f"{problem}; draw it again with `{files.command_of(shard)}`")
        found -= {picture.name for picture in pictures}
    if found:
        raise UserError(f"{folder / 'images' / min(found)} is not one of the {len(plan.numbers)} pictures; remove it")
    views = ["images", *(f"view{depth}" for depth in range(1, len(model.specs)))]
    names, shown = ["numbers", *views, *(f"nats_{factor.name}" for factor in model.factors)], []
    for number, (tensors, _) in enumerate(read):
        if len(tensors) > 1:  # A shard without the first images has only the digests of its pictures.
            if missing := [name for name in names if name not in tensors]:
                path = files.path(Shard(number + 1, count))
                raise DamagedFile(f"{path} is damaged: it does not have {missing[0]} of the first images")
            shown.append(tensors)
    facts: Facts = {name: torch.cat([own[name] for own in shown]).numpy() for name in names}
    write_sheets(model, plan, config, folder, facts, sum(float(metadata[SECONDS]) for _, metadata in read))
    for path in (files.folder / LOCK, note_of(files.folder / LOCK)):
        remove(path)
    files.remove(count)


def _problem(pictures: Sequence[Path], tensors: Mapping[str, Tensor]) -> str | None:
    """The first of a shard's pictures that is missing, or is not the one that was drawn; None if there is none.

    `tensors` are the results of the shard.
    """
    expected = tensors.get(PICTURES, torch.empty(0)).tolist()
    for path, digest in itertools.zip_longest(pictures, expected[: len(pictures)]):
        if not is_file(path):
            return f"{path} is missing"
        if _sha256(path) != digest:
            return f"{path} is damaged, or another picture than the one that was drawn"
    return None


def _sha256(path: Path) -> list[int]:
    return list(hashlib.sha256(read_bytes(path)).digest())
