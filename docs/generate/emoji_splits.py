"""Leaves out nearly equal images of emoji, and divides emoji between training and test images.

The distance of two images is the mean absolute difference of their values, 0 … 255.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from emoji_catalog import Emoji

EQUAL = 2.0
"""The distance below which two images count as equal: only the first of them is kept."""
SIMILAR = 3.0
"""An emoji with an image at a smaller distance from an image of another emoji is not held out."""
TEST = 20
"""One emoji of this many is held out in each subgroup, and at least one."""
Pair = tuple[int, int]


def near(images: np.ndarray, limit: float) -> list[Pair]:
    """The pairs of images, shape (n, height, width, 3), at a distance below `limit`, as ascending pairs of numbers."""
    flat = torch.from_numpy(images).flatten(1).float()
    # The sums are integers that float32 represents exactly.
    return [(i, j) for i, j in (torch.cdist(flat, flat, p=1) < limit * flat.shape[1]).triu(1).nonzero().tolist()]


def without_equal(count: int, pairs: Iterable[Pair]) -> list[int]:
    """The numbers of the images to keep, of `count` images with these pairs of nearly equal images."""
    earlier: dict[int, set[int]] = defaultdict(set)
    for first, second in pairs:
        earlier[second].add(first)
    kept: set[int] = set()
    for number in range(count):
        if not earlier[number] & kept:
            kept.add(number)
    return sorted(kept)


def held_out(emoji: Sequence[Emoji], pairs: Iterable[Pair]) -> set[str]:
    """The code points of the emoji whose images, by all vendors, are test images.

    `emoji` has the emoji of each image, and `pairs` the pairs of similar images. In each subgroup, emoji that
    more vendors have come first, and equally frequent ones in an order that depends only on the code points.
    """
    similar: set[str] = set()
    for first, second in pairs:
        if emoji[first].code != emoji[second].code:
            similar |= {emoji[first].code, emoji[second].code}
    vendors = Counter(each.code for each in emoji)
    subgroups: dict[str, set[str]] = defaultdict(set)
    for each in emoji:
        subgroups[each.subgroup].add(each.code)
    test: set[str] = set()
    for codes in subgroups.values():
        ranked = sorted(codes - similar, key=lambda code: (-vendors[code], order(code)))
        test |= set(ranked[: max(len(codes) // TEST, 1)])
    return test


def order(code: str) -> str:
    """A sort key that gives emoji a random order, equal on every machine."""
    return hashlib.sha256(code.encode()).hexdigest()
