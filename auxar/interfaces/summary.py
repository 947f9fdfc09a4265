"""A short representation of models, in place of PyTorch's listing of all their modules."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def summary(name: str, terms: Iterable[object], module: nn.Module) -> str:
    """A line with the factors of a model, its number of parameters and their device.

    Examples:
        >>> summary("Chain", ["p(8×8×3 | 4×4×3)", "p(4×4×3)"], nn.Linear(2, 3))
        'Chain(p(8×8×3 | 4×4×3) · p(4×4×3), 9 parameters, cpu)'
    """
    parameters = list(module.parameters())
    count = sum(parameter.numel() for parameter in parameters)
    devices = ", ".join(sorted({str(parameter.device) for parameter in parameters})) or "cpu"
    return f"{name}({' · '.join(map(str, terms))}, {count:,} parameters, {devices})"
