"""The number of threads that PyTorch uses."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_lock = threading.Lock()
_entered = 0
_threads = 1
"""The number of threads before the first of the contexts that are active now."""


@contextlib.contextmanager
def one_thread() -> Iterator[int]:
    """A context in which PyTorch uses one thread. Yields the number of threads that it used before.

    PyTorch's other threads go on asking for work for milliseconds after each operation, without giving up their
    processors, which the native engine's threads need. If a processor is busy with another program, each operation also
    waits for the thread that shares it. For short operations, both cost far more than the other threads gain.

    Several Python threads may be in such contexts at the same time.
    """
    global _entered, _threads
    with _lock:
        # PyTorch gives the last number of threads that was set to every new thread.
        if _entered == 0:
            _threads = torch.get_num_threads()
        _entered += 1
        torch.set_num_threads(1)
    try:
        yield _threads
    finally:
        with _lock:
            _entered -= 1
            torch.set_num_threads(_threads)
