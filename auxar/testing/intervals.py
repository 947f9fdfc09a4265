"""Checks of the intervals of supports, and of what intervals and centers may depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from auxar.model import ImageSpec, Interval, View
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, check_tensor

Place = TypeVar("Place")

MOST_PLACES = 200
"""The largest number of sub-pixels of an image that are changed one by one. Larger images use evenly spaced ones."""


def intervals(view: View, image: Tensor, given: Tensor) -> Interval:
    """Intervals of the view's support, for images (b, c, h, w) and given views."""
    return Interval(**interval_function(view)(image, given))


def interval_function(view: View) -> Function:
    """The intervals as a function of images and given views."""
    support = view.support
    assert support is not None

    def compute(image: Tensor, given: Tensor) -> Results:
        found = support.intervals(image, given)
        for end in (found.low, found.high):
            check_tensor("Support.intervals", end, image.shape, torch.int64, law="support", image=image)
        return {"low": found.low, "high": found.high}

    return Function("Support.intervals", compute, (view.image.levels, view.view.levels))


def check_intervals(view: View, image: Tensor) -> None:
    """Checks the invariances of the intervals of images given their own views, and that these intervals are right.

    They must contain the values of the images, and must not leave out a possible value next to either end.
    """
    given, function = view(image), interval_function(view)
    found = Interval(**check_invariances(function, image, given))
    function(image[:0], given[:0])
    message = "given the image's own view, the interval does not contain the value of the image"
    check_places((image < found.low) | (image > found.high), message, view, image, given, found)
    message = "given the image's own view, the interval extends outside [0, levels)"
    check_places((found.low < 0) | (found.high >= view.image.levels), message, view, image, given, found)
    _check_outside(view, image, given, found)


def check_places(wrong: Tensor, message: str, view: View, image: Tensor, given: Tensor, found: Interval) -> None:
    """Raises `ContractError` of the law `support` for the first interval that is `wrong`, booleans (b, c, h, w)."""
    if wrong.any():
        row, *place = wrong.nonzero()[0].tolist()
        at = row, *place
        broken(
            "support",
            message,
            built_for=view.image,
            place=f"(channel, row, column) = {tuple(place)}",
            image=image[row],
            view=given[row],
            interval=(int(found.low[at]), int(found.high[at])),
        )


def _check_outside(view: View, image: Tensor, given: Tensor, found: Interval) -> None:
    """Checks that values just outside an interval are impossible: putting one into the image must change its view."""
    for values, step in ((found.low, -1), (found.high, 1)):
        missing = torch.zeros(image.shape, dtype=torch.bool)
        for place in some(places(view.image)):
            at = (..., *place)
            beside = values[at] + step
            possible = (beside >= 0) & (beside < view.image.levels)
            changed = image.clone()
            changed[at] = torch.where(possible, beside, image[at])
            missing[at] = (view(changed) == given).flatten(1).all(1) & possible
        message = "the interval does not contain a value next to it with which the image keeps its view"
        check_places(missing, message, view, image, given, found)


def check_order(view: View, image: Tensor, other: Tensor, given: Tensor) -> None:
    """Checks that an interval depends on earlier sub-pixels alone: from an index on, those of `other` replace all."""
    spec = view.image
    order = torch.arange(spec.dims).view(spec.height, spec.width, spec.channels).permute(2, 0, 1)
    ends = torch.tensor(some(range(spec.dims)))[:, None, None, None]
    message = "must depend on earlier sub-pixels alone"
    check_kept(interval_function(view), image, other, given, order < ends, order <= ends, "support", message)


def check_reach(view: View, image: Tensor, other: Tensor, given: Tensor, reach: int) -> None:
    """Checks the `reach` of a walk: in the rows above a pixel, those of `other` replace all pixels further right."""
    rows, columns, at = _grid(view.image)
    far = (rows < at // view.image.width) & (columns > at % view.image.width + reach)
    here = rows * view.image.width + columns == at
    message = f"depends on pixels of rows above that are further to its right than the walk's reach of {reach} columns"
    check_kept(interval_function(view), image, other, given, ~far, here, "support", message)


def check_earlier(
    function: Function, image: Tensor, other: Tensor, given: Tensor, spec: ImageSpec, reach: int, law: str
) -> None:
    """Checks that results for a pixel depend on the pixels to its left, and on those above up to `reach` to the right.

    All others are replaced by those of `other`.
    """
    rows, columns, at = _grid(spec)
    row, column = at // spec.width, at % spec.width
    keep = ((rows < row) & (columns <= column + reach)) | ((rows == row) & (columns < column))
    message = "depends on pixels other than those to its left, and those of rows above up to the walk's reach"
    check_kept(function, image, other, given, keep, rows * spec.width + columns == at, law, message)


def _grid(spec: ImageSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (h, 1) and columns (w,), and the places of at most `MOST_PLACES` pixels, (n, 1, 1, 1)."""
    at = torch.tensor(some(range(spec.height * spec.width)))[:, None, None, None]
    return torch.arange(spec.height)[:, None], torch.arange(spec.width), at


def check_kept(
    function: Function,
    image: Tensor,
    other: Tensor,
    given: Tensor,
    keep: Tensor,
    compared: Tensor,
    law: str,
    message: str,
) -> None:
    """Checks that results do not change where `compared`, if other values than those to `keep` are replaced.

    The masks (n, …) are of n replacements, which are tried for each image.
    """
    found = function(image, given)
    for row in range(len(image)):
        mixed = torch.where(keep, image[row], other[row])
        again = function(mixed, given[row].expand(len(mixed), -1, -1, -1))
        for name, values in again.items():
            wrong = (values != found[name][row]) & compared & _follows(mixed, again)
            if wrong.any():
                number, *place = wrong.nonzero()[0].tolist()
                what = f"{name} at (channel, row, column) {tuple(place)} {message}"
                broken(law, what, image=image[row], with_another=mixed[number], view=given[row])


def _follows(image: Tensor, found: Results) -> Tensor:
    """Whether all earlier values are in their intervals, booleans (b, c, h, w). If not, an interval is meaningless."""
    if "low" not in found:
        return torch.tensor(True)
    channels, height, width = image.shape[1:]
    wrong = ((image < found["low"]) | (image > found["high"])).permute(0, 2, 3, 1).flatten(1).to(torch.int64)
    before = wrong.cumsum(1) - wrong
    return (before == 0).view(-1, height, width, channels).permute(0, 3, 1, 2)


def places(spec: ImageSpec) -> list[tuple[int, int, int]]:
    """(channel, row, column) of every sub-pixel in the order in which they are drawn."""
    return [(c, y, x) for y in range(spec.height) for x in range(spec.width) for c in range(spec.channels)]


def some(places: Sequence[Place]) -> list[Place]:
    """At most `MOST_PLACES` of the places, evenly spaced, including the first and the last."""
    if len(places) <= MOST_PLACES:
        return list(places)
    return [places[k * (len(places) - 1) // (MOST_PLACES - 1)] for k in range(MOST_PLACES)]
