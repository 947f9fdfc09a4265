"""Conversion between numbers of levels."""

from __future__ import annotations

import numpy as np


def to_256_levels(values: np.ndarray, levels: int) -> np.ndarray:
    """Converts integers in [0, levels) to uint8: 255·x / (levels - 1), rounded half up. The shape is kept.

    So 0 becomes 0, and levels - 1 becomes 255.

    Examples:
        >>> to_256_levels(np.array([0, 1, 2]), 3).tolist()
        [0, 128, 255]
    """
    top = levels - 1
    # This is floor(255·x / top + ½), computed in integers to avoid floating-point rounding.
    return ((510 * values.astype(np.int64) + top) // (2 * top)).astype(np.uint8)
