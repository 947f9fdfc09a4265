"""The number of threads for work that is repeated many times, such as the steps of a training.

If other programs use the processors of PyTorch's threads, each short operation waits for the slowest thread, and one
thread can be twenty times as fast as two. On an idle machine, more threads are faster for all but small networks.
"""

import contextlib
import math
import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

PROBED = 0.04
"""The largest share of time that is spent on trying the slower number of threads again."""
PROBES, PROBED_VALUES = 40, 2**18
"""The number of short operations that compare one thread with all, and of the values that each of them changes."""
REMEMBERED = 3
"""The number of last durations whose median is compared. A single interruption does not change it."""


_lock = threading.Lock()
_entered = 0
_usual = 1
"""The number of threads before the first of the contexts that are active now."""
_own = threading.local()
_most: int | None = None
"""The largest number of threads; None for any."""


def _begin_in_child() -> None:
    """Keeps a forked process to one thread: it lacks its parent's threads, for which OpenMP would wait without end."""
    global _lock, _most
    _lock, _most = threading.Lock(), 1
    torch.set_num_threads(1)


os.register_at_fork(after_in_child=_begin_in_child)


@contextlib.contextmanager
def threads(count: int) -> Iterator[int]:
    """A context in which PyTorch's operations on a CPU use `count` threads. Yields the number that they used before.

    Several threads of Python may be in such contexts at the same time.

    Examples:
        >>> with threads(3):
        ...     torch.get_num_threads()
        3
    """
    global _entered, _usual
    with _lock:
        if _entered == 0:
            _usual = torch.get_num_threads()
        # PyTorch gives the last number that was set to every new thread, so it may be that of another's context.
        depth = getattr(_own, "depth", 0)
        before = torch.get_num_threads() if depth else _usual
        _entered += 1
        _own.depth = depth + 1
        torch.set_num_threads(_most or count)
    try:
        yield before
    finally:
        with _lock:
            _entered -= 1
            _own.depth -= 1
            torch.set_num_threads(_most or before)


@contextlib.contextmanager
def one_if_busy() -> Iterator[None]:
    """A context in which PyTorch uses one thread if a few short operations are not faster with all its threads.

    It is for long calls, such as the encoding of a band, whose results do not depend on the number of threads.
    """
    most = torch.get_num_threads()
    with threads(1):
        alone = _probe(math.inf) if most > 1 else 0.0  # One thread leaves no choice.
    with threads(most if _probe(alone) < alone else 1):
        yield


def _probe(limit: float) -> float:
    """The seconds that some short operations take. They end early after `limit` seconds."""
    values = torch.zeros(PROBED_VALUES)
    started = time.perf_counter()
    for _ in range(PROBES):
        values.add_(1.0)
        if time.perf_counter() - started > limit:
            break
    return time.perf_counter() - started


class ThreadChoice:
    """Chooses for each call whether PyTorch uses one thread or all its threads, by the durations of earlier calls.

    Both numbers are tried, the faster is used, and the slower is tried again for a small share of the time, so that the
    choice follows the other programs of the machine. Until `agree` has found that results do not depend on the number,
    and for a `device` other than a CPU or None, the number is left as it is.
    """

    def __init__(self, device: torch.device | None) -> None:
        most = torch.get_num_threads() if device is not None and device.type == "cpu" else 1
        self.undecided = most > 1
        """Whether `agree` is still to be called."""
        self._numbers = [most]
        self._seconds: dict[int, deque[float]] = {number: deque(maxlen=REMEMBERED) for number in (most, 1)}
        self._credit = 0.0
        """Seconds that may be lost by trying the slower number again."""

    def agree(self, compute: Callable[[], Tensor]) -> Tensor:
        """Computes a result with all threads and with one, and returns it.

        From now on, the number is chosen if the two have the same bits, and left as it is otherwise.
        """
        result = compute()
        with threads(1):
            if torch.equal(_bits(result), _bits(compute())):
                self._numbers.append(1)
        self.undecided = False
        return result

    def result(self, compute: Callable[[], Tensor], units: int) -> Tensor:
        """The result of one call, as `agree` or, if it was called before, in the context `measured`."""
        if self.undecided:
            return self.agree(compute)
        with self.measured(units):
            return compute()

    @contextlib.contextmanager
    def measured(self, units: int = 1) -> Iterator[None]:
        """A context for one call, which uses the chosen number of threads. `units` is its size, such as its images."""
        if len(self._numbers) == 1:
            yield
            return
        # A number that was not tried yet has no duration, and is tried first.
        usual = {number: units * statistics.median(seconds or [0]) for number, seconds in self._seconds.items()}
        best, other = sorted(self._numbers, key=usual.__getitem__)
        number = other if usual[other] - usual[best] <= self._credit else best
        started = time.perf_counter()
        with threads(number):
            yield
        seconds = time.perf_counter() - started
        self._seconds[number].append(seconds / units)
        if number == best:
            self._credit += PROBED * seconds
        elif seconds > usual[best]:
            self._credit = 0.0


def _bits(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, which are equal even where the numbers are NaN."""
    return tensor.contiguous().view(-1).view(torch.uint8)
