"""Checkpoints: everything that changes from step to step, so that training can continue from the last few saved."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.files import DamagedFile, Shapes, read_tensors, remove, write_tensors
from auxar.interfaces import Factor
from auxar.runs.weights import check_shapes
from auxar.training.averaging import WeightAverage

logger = logging.getLogger("auxar")

# Without a number: the one file that there was before several were kept.
NAME = re.compile(r"training(?:-(\d+))?\.safetensors")
MOMENT = re.compile(r"(\d+)\.(step|exp_avg|exp_avg_sq)")


@attrs.frozen
class Progress:
    """How far training is, besides its tensors."""

    step: int = 0
    """Steps done, of which `skipped` changed nothing."""
    skipped: int = 0
    seconds: float = 0.0
    losses: tuple[float, ...] = ()
    """bits/dim of the steps since the last line of metrics."""


@attrs.frozen(eq=False)
class Checkpoint:
    """A saved state that fits its factor."""

    path: Path
    progress: Progress
    images: str | None
    """Fingerprint of the images trained on."""
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one part: `factor`, `average` or `optimizer`."""
        return _part(self.tensors, prefix)

    def restore(self, optimizer: torch.optim.Optimizer, average: WeightAverage) -> None:
        """Puts optimizer and average back as they were."""
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.part("optimizer").items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        average.restore(self.part("average"), self.progress.step - self.progress.skipped)


def checkpoints(folder: Path) -> list[Path]:
    """A factor's saved states, the newest first."""
    found = [(int(match[1] or -1), path) for path in folder.glob("*") if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def save(
    folder: Path,
    factor: Factor,
    optimizer: Any,
    average: WeightAverage,
    progress: Progress,
    facts: Mapping[str, str],
    *,
    keep: int,
) -> None:
    """Writes a checkpoint, and then removes all but the newest `keep`.

    Raises `UserError` if it cannot be written, or if weights are not finite; what was saved before is there then.
    """
    tensors = {f"factor.{name}": tensor for name, tensor in factor.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.tensors().items()}
    moments = optimizer.state_dict()["state"]
    for index, entry in moments.items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entry.items()}
    # A buffer may be infinite by design, such as a mask that is added to logits.
    buffers = {f"factor.{name}" for name, _ in factor.named_buffers()}
    if not all(bool(tensor.isfinite().all()) for name, tensor in tensors.items() if name not in buffers):
        raise UserError(
            f"factor {factor.name}: its weights are not finite after step {progress.step}; what was saved before is "
            "intact. A lower training.learning_rate or training.clip may help, in another folder (--out)"
        )
    numbers = {key: json.dumps(value) for key, value in attrs.asdict(progress).items()}
    path = folder / f"training-{progress.step:09d}.safetensors"
    write_tensors(path, tensors, {**numbers, "moments": str(len(moments)), **facts})
    # A file of a later step was damaged and passed over when training began; it must not displace a whole one.
    found = checkpoints(folder)
    kept = found[found.index(path) :][:keep]
    for other in found:
        if other not in kept:
            remove(other)


def newest(folder: Path, factor: Factor, average: bool, steps: int) -> Checkpoint | None:
    """The newest saved state that is whole, for a training of `steps` steps; None if there is no file of any.

    Says which files are damaged and were passed over. Raises `UserError` if all are, and for one of another model.
    """
    damaged: list[DamagedFile] = []
    for path in checkpoints(folder):
        try:
            tensors, metadata = read_tensors(path, _check(path, factor, average))
            progress = _progress(path, metadata, steps)
            checkpoint = Checkpoint(path, progress, metadata.get("images"), tensors)
        except DamagedFile as error:
            damaged.append(error)
            continue
        for found in damaged:
            logger.warning("%s; going on from %s", found, path)
        return checkpoint
    if damaged:
        advice = "and there is none before it" if len(damaged) == 1 else "and so are all before it"
        raise UserError(f"{damaged[0]}, {advice}; delete {folder} to train this factor anew")
    return None


def _part(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def _check(path: Path, factor: Factor, average: bool) -> Callable[[Shapes, Mapping[str, str]], None]:
    """Whether the tensors that a file claims are those of this factor's training, before any is read."""
    parameters = [tuple(parameter.shape) for parameter in factor.parameters()]
    shapes = {name: tuple(parameter.shape) for name, parameter in factor.named_parameters()}

    def check(found: Shapes, metadata: Mapping[str, str]) -> None:
        check_shapes(factor, _part(found, "factor"), path)
        if average and _part(found, "average") != shapes:
            raise DamagedFile(f"{path} is damaged: its average of weights is not of this factor's")
        moments = _part(found, "optimizer")
        indices = set()
        for name, shape in moments.items():
            match = MOMENT.fullmatch(name)
            index = int(match[1]) if match and len(match[1]) < 9 else len(parameters)
            if match is None or index >= len(parameters) or shape != (() if match[2] == "step" else parameters[index]):
                raise DamagedFile(f"{path} is damaged: its optimizer's {name[:40]} is of no parameter")
            indices.add(index)
        if str(len(indices)) != metadata.get("moments") or len(moments) != 3 * len(indices):
            raise DamagedFile(f"{path} is damaged: its optimizer has moments of {len(indices)} parameters")

    return check


def _progress(path: Path, metadata: Mapping[str, str], steps: int) -> Progress:
    try:
        step, skipped = _count(metadata["step"]), _count(metadata.get("skipped", "0"))
        seconds, losses = (json.loads(metadata.get(key, none)) for key, none in (("seconds", "0"), ("losses", "[]")))
        numbers = [seconds, *losses] if isinstance(losses, list) else [None]
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError("its times and losses are no numbers")
        math.fsum(losses)  # Their mean is to be logged.
        if not skipped <= step <= steps:
            raise ValueError(f"it is of step {step}, and training has {steps}")
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DamagedFile(f"{path} is damaged: {error}") from None
    return Progress(step, skipped, float(seconds), tuple(map(float, losses)))


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{text[:40]!r} is no number of steps")
    return int(text)
