"""The choice of the device that a loaded model computes on."""

from typing import Any

import torch

from auxar.errors import UserError, did_you_mean, one_line


def chosen_device(device: Any) -> torch.device:
    """The device with a name: "auto", "cpu", "cuda" or "cuda:N". A `torch.device` is checked in the same way.

    "auto" is a GPU if PyTorch finds one that it supports through CUDA (or ROCm), and otherwise the CPU. Apple's GPUs
    (MPS) are not supported, because images are drawn with random numbers in float64, which they do not have. Raises
    `UserError` if the name is unknown or the device does not exist.
    """
    name = one_line(str(device), 100)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    if name.startswith("cuda") and not count:
        raise UserError(f"device: PyTorch finds no GPU for '{name}'; use device='cpu', or 'auto' for any machine")
    known = ("auto", "cpu", "cuda", *(f"cuda:{number}" for number in range(count)))
    if name not in known:
        raise UserError(f"device: there is no device named '{name}'{did_you_mean(name, known)}")
    return torch.device(name)
