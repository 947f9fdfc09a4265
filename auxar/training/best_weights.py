"""Files of the weights with the lowest bits/dim on validation images, beside the checkpoints of a factor.

A checkpoint contains the step of the best weights so far, and their file has this step in its name. Each checkpoint
that is kept therefore finds its own best weights, even if a later file was written before the process was killed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from auxar.files import DamagedFile, is_file, read_tensors, remove, write_tensors
from auxar.model import Factor
from auxar.runs.weights import check_shapes
from auxar.training.checkpoints import best_step, checkpoints, numbered

NAME = re.compile(r"best-(\d+)\.safetensors")


def write_best(folder: Path, factor: Factor, step: int, facts: Mapping[str, str]) -> None:
    """Writes the weights of `factor` as the best weights so far, and removes files that no checkpoint needs."""
    write_tensors(_path(folder, step), factor.state_dict(), {"step": str(step), **facts})
    remove_unneeded(folder, step)


def read_best(folder: Path, factor: Factor, step: int) -> dict[str, Tensor]:
    """Reads the best weights, which were written after `step`.

    Raises `DamagedFile` if the file is missing or damaged, and `UserError` if it belongs to another model.
    """
    path = _path(folder, step)

    if not is_file(path):
        raise DamagedFile(f"{path} is missing: it has the best weights on validation images")
    return read_tensors(path, lambda shapes, _: check_shapes(factor, shapes, path))[0]


def remove_unneeded(folder: Path, best: int) -> None:
    """Removes files of best weights, except the file of the step `best` and the files that the kept checkpoints need.

    A process that was killed may have left a file of a later step.
    """
    needed = {best, *(best_step(path) for path in checkpoints(folder))}
    for step, path in numbered(folder, NAME):
        if step not in needed:
            remove(path)


def _path(folder: Path, step: int) -> Path:
    return folder / f"best-{step:09d}.safetensors"
