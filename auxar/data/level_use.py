"""Recognizes sets of images that use few of their levels, often because their pixels are levels already."""

from collections.abc import Sized

import numpy as np

from auxar.data.decoding import UPPER_BITS
from auxar.data.sets import ImageSet
from auxar.model import IMAGE
from auxar.numerics.levels import LEVELS, SCALED

MOST_IMAGES = 256
"""Maximum number of images that are read to find the levels in use."""
MOST_VALUES = 2**25
"""Maximum number of their sub-pixels, except for very large images, of which `LEAST_IMAGES` are read."""
LEAST_IMAGES = 8


def suited_levels(used: np.ndarray, levels: int) -> tuple[int, str] | None:
    """The number of levels that suits images which use few of `levels` levels, and the meaning of their pixels.

    `used` has the levels in use, sorted. None for ordinary images, and for others that no smaller number suits.
    """
    count, last = len(used), int(used[-1])
    if count > max(1, levels // 8) and last - int(used[0]) + 1 > levels // 4:
        return None
    if levels == 256 and 0 < last < 128:
        return last + 1, LEVELS
    return (count, SCALED) if 1 < count == len(np.unique(used * count // levels)) else None


def unused_levels(images: ImageSet, values: str) -> str | None:
    """A sentence about the levels that images do not use, with the likely cause; None for ordinary images.

    Evenly spaced images are read or, of a stream, the first ones. `values` is `data.values` of the recipe. Images that
    are not ordinary use at most an eighth of the levels, or levels in at most a quarter of the range, or, if they are
    scaled, only levels that pixels below the number of levels can become.
    """
    levels = images.image.levels
    most = min(MOST_IMAGES, max(LEAST_IMAGES, MOST_VALUES // images.image.dims))
    pixels = images.spaced_examples(most)[IMAGE].numpy()
    used = np.flatnonzero(sum(np.bincount(image.ravel(), minlength=levels) for image in pixels))
    first, last, count = int(used[0]), int(used[-1]), len(used)
    may_be_levels = values == SCALED and levels < 256 and last <= (levels - 1) * levels // 256
    if count > max(1, levels // 8) and last - first + 1 > levels // 4 and not may_be_levels:
        return None
    if images.reduced:
        advice = f"they have {UPPER_BITS}; convert them to 8 bits"
    elif may_be_levels:
        advice = "if their pixels are levels already, set data.values = 'levels'"
    elif (suited := suited_levels(used, levels)) == (last + 1, LEVELS):
        advice = f"if their pixels are levels 0 … {last}, set image.levels = {last + 1} and data.values = 'levels'"
    elif suited == (count, SCALED):
        advice = f"image.levels = {count} is enough for them"
    else:
        advice = "check that these are the right images, and image.levels"
    listed = f"{first} … {last}" if count > 2 else " and ".join(map(str, used))
    read = f"in {len(pixels)} {'evenly spaced' if isinstance(images, Sized) else 'first'} images"
    return f"the training images use only {count} of {levels} levels, {listed} ({read}): {advice}"
