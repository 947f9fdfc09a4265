"""Evaluation in shards: each stores the log-likelihoods of its images in a file, and all files together are merged."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from auxar.distributed.processes import Processes
from auxar.distributed.shards import Shard
from auxar.errors import UserError
from auxar.evaluation.image_nats import Share, empty_share, joined
from auxar.evaluation.likelihoods import Pass, RunEvaluation, Shares
from auxar.files import DamagedFile
from auxar.runs.layout import RunFolder
from auxar.runs.shards import ShardFiles

logger = logging.getLogger("auxar")

NAME = "evaluation"
"""Beginning of the names of the files."""
PARTS = ("indices", "values", "known", "hashes")
"""The tensors of a share, by the names of its fields."""


def evaluation_files(run: RunFolder, work: Mapping[str, Any] | None = None) -> ShardFiles:
    """The files of the shards of a run's evaluation. `work` has values by name that all shards have in common."""
    return ShardFiles(run.output.shards, NAME, f"auxar evaluate {run.name}", work or {})


def evaluate_shard(
    evaluation: RunEvaluation, files: ShardFiles, shard: Shard, accelerator: Accelerator, processes: Processes
) -> None:
    """Computes the log-likelihoods of a shard's images, in all processes together, and stores them.

    A shard that is done is kept. The caller holds the lock of the shard.
    """
    with processes.agreeing() as facts:
        is_done = facts["whether the shard is done"] = files.done(shard) is not None
    if is_done:
        logger.info("the shard %s is already done: %s", shard, files.path(shard))
        return
    shares = evaluation.compute(accelerator, shard)
    if accelerator.is_main_process:
        files.write(shard, {_key(*key, part): getattr(share, part) for key, share in shares.items() for part in PARTS})
        logger.info("the shard %s is done: %s", shard, files.path(shard))
    accelerator.wait_for_everyone()


def merged(evaluation: RunEvaluation, files: ShardFiles, count: int) -> Shares:
    """Reads the log-likelihoods of all images from the files of all of `count` shards.

    Raises `UserError` if a file is missing or belongs to other work, or if an image is in no shard or in several, and
    `DamagedFile` if a file is damaged.
    """
    read = files.read(count)
    paths = [files.path(Shard(number, count)) for number in range(1, count + 1)]
    found = {}
    for each in evaluation.passes:
        for name, (images, limit) in evaluation.sets.items():
            parts = [_share(tensors, each, name, path) for (tensors, _), path in zip(read, paths, strict=True)]
            share = joined(parts)
            total = len(share.indices)
            if isinstance(images, Sized):
                total = len(images) if limit is None else min(limit, len(images))
            if not torch.equal(share.indices, torch.arange(total)):
                raise UserError(
                    f"{files.folder}: the shards do not have each of the {name} images exactly once; make all shards "
                    "again, in another folder or after these files are deleted"
                )
            found[each.name, name] = share
    return found


def _share(tensors: Mapping[str, Tensor], of: Pass, name: str, path: Path) -> Share:
    """The share of a set in the file of a shard. Raises `DamagedFile` unless its tensors fit the factors of a pass."""
    empty = empty_share(of.chosen)
    count = len(tensors.get(_key(of.name, name, "indices"), ()))
    parts = {}
    for part in PARTS:
        like: Tensor = getattr(empty, part)
        shape = like.shape if part == "known" else (count, *like.shape[1:])
        tensor = tensors.get(_key(of.name, name, part))
        if tensor is None or tensor.dtype != like.dtype or tensor.shape != shape:
            raise DamagedFile(f"{path} is damaged: it does not have the {part} of the {name} images ({of.name})")
        parts[part] = tensor
    return Share(**parts)


def _key(of: str, name: str, part: str) -> str:
    return f"{of}/{name}/{part}"
