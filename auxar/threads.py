"""The number of threads for work that is repeated many times, such as the steps of a training.

If other programs use the processors of PyTorch's threads, each short operation waits for the slowest thread, and one
thread can be twenty times as fast as two. On an idle machine, more threads are faster for all but small networks.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

PROBED = 0.04
"""The largest share of time that is spent on trying the slower number of threads again."""
REMEMBERED = 3
"""The number of last durations whose median is compared. A single interruption does not change it."""


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """A context in which PyTorch's operations on a CPU use `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ThreadChoice:
    """Chooses for each call whether PyTorch uses one thread or all its threads, by the durations of earlier calls.

    Both numbers are tried, the faster is used, and the slower is tried again for a small share of the time, so that the
    choice follows the other programs of the machine. Results must not depend on the choice, which `agree` checks. On
    another device than a CPU, all threads are always used.
    """

    def __init__(self, device: torch.device) -> None:
        most = torch.get_num_threads() if device.type == "cpu" else 1
        self.numbers = [most] if most == 1 else [most, 1]
        """The numbers of threads among which it chooses."""
        self.checked = False
        self._seconds = {number: deque[float](maxlen=REMEMBERED) for number in self.numbers}
        self._credit = 0.0
        """Seconds that may be lost by trying the slower number again."""

    def agree(self, compute: Callable[[], Tensor | Sequence[Tensor]]) -> None:
        """Computes results with one thread and with all. If any bit differs, all threads are used from now on.

        Later calls, and calls if there is only one thread, do nothing.
        """
        if len(self.numbers) > 1 and not self.checked:
            results = []
            for number in self.numbers:
                with threads(number):
                    found = compute()
                    results.append([_bits(part) for part in ([found] if isinstance(found, Tensor) else found)])
            if not all(torch.equal(*pair) for pair in zip(*results, strict=True)):
                del self.numbers[1:]
        self.checked = True

    @contextlib.contextmanager
    def measured(self, units: int = 1) -> Iterator[None]:
        """A context for one call, which uses the chosen number of threads. `units` is its size, such as its images."""
        if len(self.numbers) == 1:
            yield
            return
        # A number that was not tried yet has no duration, and is tried first.
        usual = {number: units * statistics.median(seconds or [0]) for number, seconds in self._seconds.items()}
        best, other = sorted(self.numbers, key=usual.__getitem__)
        number = other if usual[other] - usual[best] <= self._credit else best
        started = time.perf_counter()
        with threads(number):
            yield
        seconds = time.perf_counter() - started
        self._seconds[number].append(seconds / units)
        self._credit += PROBED * seconds if number == best else min(0.0, usual[best] - seconds)
        self._credit = max(0.0, self._credit)


def _bits(tensor: Tensor) -> Tensor:
    """The bytes of a tensor. Unlike numbers, they are equal if they are not a number."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8).clone()
