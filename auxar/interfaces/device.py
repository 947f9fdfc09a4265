"""The device of a module."""

from __future__ import annotations

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's weights; the CPU if it has none."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
