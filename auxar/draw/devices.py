"""The choice of the device that a loaded model computes on."""

from __future__ import annotations

import re
from typing import Any

import torch

from auxar.arguments import described
from auxar.errors import UserError, did_you_mean, one_line

NAMES = ("auto", "cpu", "cuda")
"""Names of devices. A single GPU is also named by its number, as in `cuda:1`."""
OTHER_NAMES = {"gpu": "cuda", "nvidia": "cuda"}
"""Names that users try, and the names that they mean."""


def chosen_device(device: Any) -> torch.device:
    """The device with a name: "auto", "cpu", "cuda" or "cuda:N". A `torch.device` is checked in the same way.

    "auto" is a GPU if PyTorch finds one that it supports through CUDA (or ROCm), and otherwise the CPU. Apple's GPUs
    (MPS) are not supported, because images are drawn with random numbers in float64, which they do not have. Raises
    `UserError` if the name is unknown or the device does not exist.
    """
    if isinstance(device, int) and not isinstance(device, bool):
        raise UserError(
            f"device: expected the name of a device, got the number {device}; did you mean 'cuda:{device}'?"
        )
    if not isinstance(device, str | torch.device):
        raise UserError(f"device: expected the name of a device, such as 'cuda', got {described(device)}")
    name = one_line(str(device), 100)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device(name)
    if (found := re.fullmatch(r"cuda(?::([0-9]{1,6}))?", name)) is None:
        raise UserError(f"device: {_unknown(name)}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise UserError(
            f"device: PyTorch finds no GPU for '{name}'; use device='cpu', or device='auto' for any machine"
        )
    if found[1] is not None and int(found[1]) >= count:
        choices = (f"cuda:{number}" for number in range(count))
        raise UserError(f"device: there is no GPU '{name}'; the GPUs are {', '.join(choices)}")
    return torch.device(name)


def _unknown(name: str) -> str:
    if name.startswith("mps"):
        return f"'{name}' is not supported, because Apple's GPUs do not have float64; use 'cpu'"
    if (meant := OTHER_NAMES.get(name.lower())) is not None:
        return f"there is no device named '{name}'; did you mean '{meant}'? (known: {', '.join((*NAMES, 'cuda:N'))})"
    return f"there is no device named '{name}'{did_you_mean(name, (*NAMES, 'cuda:N'))}"
