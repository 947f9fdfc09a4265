"""The number of threads that PyTorch uses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[int]:
    """A context in which PyTorch uses one thread. Yields the number of threads that it used before.

    PyTorch's other threads go on asking for work for milliseconds after each operation, without giving up their
    processors, which the native engine's threads need. If a processor is busy with another program, each operation also
    waits for the thread that shares it. For short operations, both cost far more than the other threads gain.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
