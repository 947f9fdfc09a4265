"""Conversion of levels to the pixels of pictures."""

import numpy as np

SCALED, LEVELS = VALUES = ("scaled", "levels")
"""The choices of `data.values`, the meaning of pixels in picture files: levels scaled to 0 … 255, or the levels."""


def to_pixels(image: np.ndarray, levels: int, values: str = SCALED) -> np.ndarray:
    """Converts integers in [0, levels) to the pixels of a picture: uint8. The shape is kept.

    If `values` is "scaled", x becomes 255·x / (levels - 1), rounded up: 0 becomes 0, and levels - 1 becomes 255. The
    conversion of a pixel p to ⌊p·levels / 256⌋ gives x again. If `values` is "levels", x stays x.

    Examples:
        >>> to_pixels(np.array([0, 1, 2]), 3).tolist(), to_pixels(np.array([0, 1, 2]), 3, "levels").tolist()
        ([0, 128, 255], [0, 1, 2])
    """
    if values == LEVELS:
        return image.astype(np.uint8)
    top = levels - 1
    return ((255 * image.astype(np.int64) + top - 1) // top).astype(np.uint8)
