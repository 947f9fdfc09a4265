"""A context manager that keeps a module in evaluation mode while images are drawn from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts a module into evaluation mode (without dropout). On exit, restores the previous mode of each part.

    Examples:
        >>> network = nn.Sequential(nn.Linear(1, 1), nn.Dropout())
        >>> with evaluating(network):
        ...     network.training
        False
        >>> network.training
        True
    """
    # Modes are stored for each part, because a frozen part may be in evaluation mode while the others are trained.
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
