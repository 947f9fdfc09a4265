"""Random numbers as functions of a key, the same in every process, on every machine and in every version of NumPy."""

from __future__ import annotations

import hashlib
import random

import numpy as np


def _integer(key: tuple[object, ...]) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:16])


def permutation(count: int, *key: object) -> np.ndarray:
    """A random permutation of 0 … count - 1: int64, shape (count,)."""
    # NumPy promises that raw numbers stay the same from version to version, and not that `permutation` does.
    return np.argsort(np.random.PCG64(_integer(key)).random_raw(count), kind="stable")


def uniform(*key: object) -> float:
    """A random number in [0, 1)."""
    return generator(*key).random()


def generator(*key: object) -> random.Random:
    """A generator whose `random()` follows from the key."""
    return random.Random(_integer(key))
