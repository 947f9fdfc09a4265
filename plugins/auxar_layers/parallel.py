"""Work that is divided among the threads of OpenMP, which PyTorch uses too, without changing any result."""

import ctypes
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from auxar.numerics.threads import threads

Result = TypeVar("Result")

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def each(call: Callable[[int], Result], count: int) -> list[Result]:
    """Returns call(0) … call(count - 1), without gradients.

    Each call uses one thread, and several calls run at the same time, so that the results do not depend on the number
    of threads. Raises the first exception of a call.
    """
    with threads(1) as most, torch.no_grad():
        parallel = _openmp()
        if count == 1 or most == 1 or parallel is None:
            return [call(index) for index in range(count)]
        return _in_threads(call, count, min(most, count), parallel)


def _in_threads(call: Callable[[int], Result], count: int, most: int, parallel: Any) -> list[Result]:
    results: dict[int, Result] = {}
    errors: list[BaseException] = []
    indices = iter(range(count))

    def work(_: object) -> None:
        try:
            # These settings belong to each thread.
            torch.set_num_threads(1)
            with torch.no_grad():
                for index in indices:
                    results[index] = call(index)
        except BaseException as error:  # It is raised below, because OpenMP's threads cannot pass it on.
            errors.append(error)

    # Threads of Python would have to share the processors with OpenMP's, which go on asking for work for milliseconds.
    parallel(_CALLBACK(work), None, most, 0)
    if errors:
        raise errors[0]
    return [results[index] for index in range(count)]


@functools.cache
def _openmp() -> Any:
    """The function of OpenMP's library that calls a function in several threads, or None if there is none.

    It is part of the interface of GCC's library, which those of Clang and Intel have too.
    """
    try:
        found = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes, found.restype = [_CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return found
