"""Creates the `Accelerator` of a command, which manages devices, processes, precision and trackers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator


def make_accelerator(precision: str, folder: Path, trackers: Sequence[str] = ()) -> Accelerator:
    """Creates an `Accelerator` with a recipe's precision and trackers, which write below `folder`."""
    return Accelerator(
        mixed_precision="bf16" if precision == "bf16" else "no",
        log_with=list(trackers) or None,
        project_dir=folder,
        # Sampling and sums of likelihoods need float64, which Apple's GPUs lack, so the CPU is used there.
        cpu=torch.backends.mps.is_available(),
    )
