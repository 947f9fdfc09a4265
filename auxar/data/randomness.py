"""Random numbers that depend only on a key.

They are the same in every process, on every machine and with every version of NumPy.
"""

import hashlib
import random

import numpy as np


def _integer(key: tuple[object, ...]) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:16])


def permutation(count: int, *key: object) -> np.ndarray:
    """Returns a random permutation of 0 … count - 1 that is determined by `key`: int64, shape (count,)."""
    # NumPy keeps the raw output of a bit generator the same between versions, but may change `Generator.permutation`.
    return np.argsort(np.random.PCG64(_integer(key)).random_raw(count), kind="stable")


def uniform(*key: object) -> float:
    """Returns a random number in [0, 1), uniformly distributed and determined by `key`."""
    return generator(*key).random()


def generator(*key: object) -> random.Random:
    """Returns a random number generator that is seeded by `key`.

    Only its method `random` is guaranteed to give the same numbers in every version of Python.
    """
    return random.Random(_integer(key))
