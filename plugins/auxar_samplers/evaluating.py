"""A context manager that keeps a network in evaluation mode while images are drawn from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Puts a network into evaluation mode (without dropout) and restores its previous mode on exit."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
