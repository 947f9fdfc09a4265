"""Checkpoints of a factor's training.

A checkpoint holds all state that changes between steps. Training continues from the newest undamaged one.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import ge, optional
from torch import Tensor

from auxar import files
from auxar.errors import UserError, logger
from auxar.model import Factor
from auxar.recipe import TrainingConfig
from auxar.runs.history import History, read_history
from auxar.runs.optimizer_state import OptimizerState, read_state, stored_state
from auxar.runs.records import read_entry
from auxar.runs.versions import check_versions
from auxar.runs.weights import check_shapes
from auxar.training.averaging import WeightAverage
from auxar.work.chunks import part_of

NAME = re.compile(r"training-(\d+)\.safetensors")
OPTIMIZER = "optimizer"
"""The metadata entry with the optimizer's name, and with the part of its state that is not in tensors."""
PROGRESS = "progress"
"""The metadata entry with the progress, as JSON."""
COMPILED = "compiled"
"""The metadata entry that is "true" if the networks were compiled in training."""


@attrs.frozen
class ValidationProgress:
    """The outcome of the evaluations on validation images so far."""

    step: int = attrs.field(default=0, validator=ge(0))
    """Step of the last evaluation; 0 before the first one."""
    best_step: int | None = attrs.field(default=None, validator=optional(ge(0)))
    """Step of the evaluation with the lowest bits/dim; None before the first finite figure."""
    best: float | None = None
    """The lowest bits/dim."""
    since: int = attrs.field(default=0, validator=ge(0))
    """Number of evaluations after the evaluation with the lowest bits/dim."""


@attrs.frozen
class Progress:
    """The progress of a factor's training: the part of its state that is not in tensors."""

    step: int
    """Number of steps done, including skipped ones."""
    skipped: int
    """Number of steps that did not change the weights because their loss or gradient was not finite."""
    seconds: float
    """Training time so far, in seconds."""
    losses: tuple[float, ...]
    """Losses in bits/dim of the steps since the last line of metrics, without skipped ones."""
    validation: ValidationProgress = attrs.field(factory=ValidationProgress)
    """The outcome of evaluations on validation images."""
    in_a_row: int = 0
    """Number of the last steps that were skipped."""


@attrs.frozen(eq=False)
class Checkpoint:
    """A checkpoint that was read from a file and checked against its factor."""

    path: Path
    """The file that it was read from."""
    progress: Progress
    images: str
    """Fingerprint of the training images."""
    history: History
    """The parts of the training up to this checkpoint, and the weights that it began with."""
    compiled: bool
    """Whether the networks were compiled in the steps before this checkpoint."""
    optimizer: OptimizerState
    """The state of the optimizer."""
    tensors: dict[str, Tensor]
    """The tensors by name, which begins with `factor.`, `average.` or `optimizer.`."""

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one part (`factor` or `average`), by name without the prefix."""
        return part_of(self.tensors, f"{prefix}.")


def checkpoints(folder: Path) -> list[Path]:
    """Paths of the checkpoints in a factor's folder, newest first."""
    return [path for _, path in numbered(folder, NAME)]


def numbered(folder: Path, name: re.Pattern[str]) -> list[tuple[int, Path]]:
    """The steps and paths of files whose names match a pattern, newest first. Its group 1 is the step."""
    found = [(int(match[1]), path) for path in files.entries(folder) if (match := name.fullmatch(path.name))]
    return sorted(found, reverse=True)


def best_step(checkpoint: Path) -> int | None:
    """The step of the best weights so far that a checkpoint names in its header; None if it is damaged."""
    try:
        return read_entry(files.read_metadata(checkpoint), PROGRESS, Progress, checkpoint).validation.best_step
    except files.DamagedFile:
        return None


def save(
    folder: Path,
    factor: Factor,
    optimizer: Any,
    config: TrainingConfig,
    average: WeightAverage,
    progress: Progress,
    facts: Mapping[str, str],
) -> None:
    """Writes a checkpoint, and keeps only the newest `config.keep_checkpoints` checkpoints up to this step.

    Raises `UserError` if the file cannot be written, if weights or optimizer state are not finite, or if the state has
    a value that cannot be stored. Earlier checkpoints stay in all cases.
    """
    tensors = {f"factor.{name}": tensor for name, tensor in factor.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.tensors().items()}
    # Buffers are not checked. They may be infinite by design, such as a mask that is added to logits.
    buffers = {f"factor.{name}" for name, _ in factor.named_buffers()}
    checked = [tensor for name, tensor in tensors.items() if name not in buffers]
    if not all(bool(tensor.isfinite().all()) for tensor in (*checked, *_moments(optimizer))):
        raise UserError(
            f"factor {factor.name}: its weights or optimizer state are not finite after step {progress.step}; earlier "
            "checkpoints are intact. To try a lower training.optimizer.learning_rate or training.clip, start a new run "
            "in another folder (--out)"
        )
    path = folder / f"training-{progress.step:09d}.safetensors"
    state, document = stored_state(optimizer, config.optimizer.table, factor)
    files.write_tensors(
        path, tensors | state, {PROGRESS: files.to_json(attrs.asdict(progress)), OPTIMIZER: document, **facts}
    )
    # Files of later steps are damaged: `newest` skipped them when training started. They are removed and do not count
    # among the kept files.
    found = checkpoints(folder)
    kept = found[found.index(path) :][: config.keep_checkpoints]
    for other in found:
        if other not in kept:
            files.remove(other)


def newest(folder: Path, factor: Factor, check: Callable[[Progress], None]) -> Checkpoint | None:
    """Reads the newest undamaged checkpoint of a training; None if there are no checkpoint files.

    `check` raises `DamagedFile` if other files that belong to a checkpoint are damaged or missing. Such a checkpoint
    counts as damaged.

    Logs a warning for each damaged file that is skipped. Raises `UserError` if all files are damaged, or if the
    newest undamaged file cannot be read or belongs to another model.
    """
    damaged: list[files.DamagedFile] = []
    for path in checkpoints(folder):
        try:
            tensors, metadata = files.read_tensors(path, functools.partial(_check, path, factor))
            progress = read_entry(metadata, PROGRESS, Progress, path)
            check(progress)
            images, compiled, state = (
                files.metadata_entry(metadata, key, path) for key in ("images", COMPILED, OPTIMIZER)
            )
            history = read_history(metadata, path)
            optimizer = read_state(path, state, tensors)
            checkpoint = Checkpoint(path, progress, images, history, compiled == "true", optimizer, tensors)
        except files.DamagedFile as error:
            damaged.append(error)
            continue
        for found in damaged:
            logger.warning("%s; training continues from %s", found, path)
        return checkpoint
    if damaged:
        advice = "there is no earlier checkpoint" if len(damaged) == 1 else "all earlier checkpoints are damaged too"
        raise UserError(f"{damaged[0]}; {advice}; delete {folder} to train this factor from the start")
    return None


def _moments(optimizer: Any) -> Iterator[Tensor]:
    """The tensors in an optimizer's state that have the shape of their parameter, such as Adam's moments.

    Other state may be infinite by design, such as a bound or the lowest value so far.
    """
    for parameter in itertools.chain(*(group["params"] for group in optimizer.param_groups)):
        for value in optimizer.state.get(parameter, {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                yield value.to(parameter.dtype)


def _check(path: Path, factor: Factor, found: files.Shapes, metadata: Mapping[str, str]) -> None:
    """Raises `UserError` unless the versions, names and shapes in the header of a checkpoint fit a factor."""
    check_versions(factor, metadata, path)
    check_shapes(factor, part_of(found, "factor."), path)
