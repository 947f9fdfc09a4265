"""Comparison of the intervals of supports with an enumeration of all images of a tiny spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from auxar.model import ImageSpec, View
from auxar.testing.examples import all_images, random_images, specs_of
from auxar.testing.intervals import Found, intervals, places
from auxar.testing.laws import fitting

MOST_IMAGES = 70_000
"""The largest number of possible images of a spec. Specs with more images are not enumerated."""
ALL_IMAGES = 30_000
"""The largest number of enumerated images of all specs together. The smallest accepted spec is always enumerated."""
SPACES = specs_of(
    "1×1×1 256, 1×1×3 5, 1×1×3 8, 1×1×3 16, 1×1×3 40, 1×2×1 64, 1×2×1 256, 1×2×3 4, 2×1×3 3, 2×2×1 3, "
    "2×2×1 4, 2×2×1 8, 2×2×1 16, 2×2×3 2, 2×4×1 3, 4×2×1 3, 1×6×1 4, 3×3×1 2, 3×3×1 3, 3×5×1 2, 4×4×1 2"
)
"""Image specs with so few images that all of them, and their views, can be enumerated."""


def enumerable_views(build: Callable[[ImageSpec], View], candidates: Sequence[ImageSpec]) -> list[View]:
    """Views, with supports, for specs whose images can all be enumerated, in order of the number of images."""
    # The number of sub-pixels is tested first, because the power is slow to compute for large images.
    small = [spec for spec in candidates if spec.dims <= 17 and spec.levels**spec.dims <= MOST_IMAGES]
    fitted = fitting(build, sorted(small, key=lambda spec: spec.levels**spec.dims), False, "images", needed=False)
    found: list[View] = []
    total = 0
    for spec in fitted:
        view = build(spec)
        total += spec.levels**spec.dims
        if view.support is not None and (not found or total <= ALL_IMAGES):
            found.append(view)
    return found


def check_space(view: View) -> None:
    """Compares intervals with an enumeration of all images.

    For each image and each of its prefixes (the first sub-pixels in drawing order), the interval of the next sub-pixel
    must contain exactly the values that, together with the prefix, can be completed to an image with the given view.
    Each image is given its own view, and another one, which is checked as long as some image with that view starts with
    the prefix. Existing pairs of a view and a prefix are numbered, and the possible next values are grouped by these
    numbers.
    """
    single, levels = all_images(view.image), view.image.levels
    own = view(single)
    image, given = torch.cat([single, single]), torch.cat([own, _other_views(view, own)])
    number = given.flatten(1).unique(dim=0, return_inverse=True)[1]
    exists, prefix = number[: len(single)], number.where(torch.isin(number, number[: len(single)]), -1)
    found = intervals(view, image, given)
    for place in places(view.image):
        values = image[(..., *place)]
        longer, exists_on = (exists * levels + values[: len(single)]).unique(return_inverse=True)
        _check_exact(found, place, longer, prefix)
        prefix = _find(longer, torch.where(prefix < 0, -1, prefix * levels + values))
        exists = exists_on
    wrong = found.outside.flatten(1).any(1) == (prefix >= 0)
    message = "all values of an image are in their intervals if and only if the image has the given view"
    found.check(wrong[:, None, None, None].expand_as(image), message)


def _other_views(view: View, own: Tensor) -> Tensor:
    """Views of other images or random ones, for as many images."""
    noise = torch.Generator().manual_seed(0)
    half = torch.rand(len(own), 1, 1, 1, generator=noise) < 0.5
    return torch.where(half, own[torch.randperm(len(own), generator=noise)], random_images(len(own), view.view, 0))


def _check_exact(found: Found, place: tuple[int, int, int], longer: Tensor, prefix: Tensor) -> None:
    """Checks the intervals at a place, for images with an existing prefix: the others have the prefix -1.

    `longer` has the numbers of existing prefixes times `levels`, plus a possible next value, in ascending order.
    """
    levels = found.view.image.levels
    before, count = (longer // levels).unique_consecutive(return_counts=True)
    last = count.cumsum(0) - 1
    low, high = longer[last - count + 1] % levels, longer[last] % levels
    of, at = _find(before, prefix), (..., *place)
    wrong = torch.zeros(found.image.shape, dtype=torch.bool)
    wrong[at] = (of >= 0) & (high - low + 1 != count)[of]
    found.check(wrong, "the values that can be completed to an image with the view have gaps, so no interval is exact")
    wrong[at] = (of >= 0) & ((found.low[at] != low[of]) | (found.high[at] != high[of]))
    message = "given the earlier sub-pixels, the interval must have the values that can be completed to such an image"
    found.check(wrong, message)


def _find(numbers: Tensor, wanted: Tensor) -> Tensor:
    """The place of each wanted number in ascending numbers ≥ 0, and -1 if it is not among them."""
    of = torch.searchsorted(numbers, wanted).clamp(max=len(numbers) - 1)
    return of.where(numbers[of] == wanted, -1)
