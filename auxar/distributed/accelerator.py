"""The accelerator of a command: its devices, processes, precision and trackers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

logger = logging.getLogger("auxar")


def make_accelerator(precision: str, folder: Path, trackers: Sequence[str] = ()) -> Accelerator:
    """Moves work to devices and processes, with a recipe's precision; trackers write below `folder`."""
    accelerator = Accelerator(
        mixed_precision="bf16" if precision == "bf16" else "no",
        log_with=list(trackers) or None,
        project_dir=folder,
        # Apple's GPUs have no float64, which draws and sums of likelihoods are computed in.
        cpu=torch.backends.mps.is_available(),
    )
    if not accelerator.is_main_process:
        logger.setLevel(logging.WARNING)  # One process reports for all of them.
    return accelerator
