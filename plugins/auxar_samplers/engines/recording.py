"""Recording of the operations of a step, which a GPU then repeats as a whole, without Python."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

logger = logging.getLogger("auxar")

Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""A function that records the operations of a function, without running them, and returns a function that runs them."""


def record_on_gpu(function: Callable[[], None]) -> Callable[[], None]:
    """Records the operations of a function as a CUDA graph. Raises `RuntimeError` if one of them cannot be recorded.

    The function must read and write tensors that stay where they are in memory, and must not read values on the host.
    """
    graph = torch.cuda.CUDAGraph()
    # The outer context restores the stream also after a failed recording.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
        function()
    return graph.replay


class Recorded:
    """Runs a function without arguments many times. The second call records its operations; later calls repeat them.

    The first call runs the function itself, which lets libraries reserve their memory. If the operations cannot be
    recorded, every call runs the function.
    """

    def __init__(self, function: Callable[[], None], record: Recorder) -> None:
        self._run = function
        self._record = record
        self._calls = 0

    def __call__(self) -> None:
        self._calls += 1
        if self._calls == 2:
            try:
                self._run = self._record(self._run)
            except RuntimeError as error:
                logger.debug("the operations of a step are not recorded: %s", error)
        self._run()
