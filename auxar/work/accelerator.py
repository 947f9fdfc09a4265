"""Creates the `Accelerator` of a command, which manages devices, processes and precision."""

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState


def make_accelerator(precision: str, folder: Path) -> Accelerator:
    """Creates an `Accelerator` with a recipe's precision, for work in `folder`."""
    mixed_precision = "bf16" if precision == "bf16" else "no"
    # Accelerate keeps the precision of the process's first accelerator and refuses another one, but each command of a
    # Python session may open a run with its own precision.
    if AcceleratorState._shared_state.get("_mixed_precision", mixed_precision) != mixed_precision:
        AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=mixed_precision,
        project_dir=folder,
        # Sampling and sums of likelihoods need float64, which Apple's GPUs lack, so the CPU is used there.
        cpu=torch.backends.mps.is_available(),
    )


def mean(accelerator: Accelerator, values: Sequence[float]) -> list[float]:
    """The mean of each value over all processes. The result is bit-identical in every process."""
    if accelerator.num_processes == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=accelerator.device)
    found: list[float] = accelerator.reduce(tensor, reduction="mean").tolist()
    return found
