"""Networks in evaluation while they are drawn from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Keeps a network in evaluation mode, without dropout, and puts it back in its mode afterwards."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
