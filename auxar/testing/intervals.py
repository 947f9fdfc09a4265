"""Checks of the intervals of supports, and of what intervals and centers may depend on."""

from collections.abc import Sequence
from typing import TypeVar

import attrs
import torch
from torch import Tensor

from auxar.model import ImageSpec, Interval, View
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, check_tensor

Place = TypeVar("Place")

MOST_PLACES = 200
"""The largest number of sub-pixels of an image that are changed one by one. Larger images use evenly spaced ones."""


@attrs.frozen(eq=False)
class Found(Interval):
    """The intervals that were found for images with given views."""

    view: View
    image: Tensor
    """Images (b, c, h, w). Intervals depend on the earlier sub-pixels."""
    given: Tensor

    def check(self, wrong: Tensor, message: str) -> None:
        """Raises `ContractError` of the law `support` for the first interval that is `wrong`, booleans (b, c, h, w)."""
        if wrong.any():
            row, *place = wrong.nonzero()[0].tolist()
            broken(
                "support",
                message,
                built_for=self.view.image,
                place=f"(channel, row, column) = {tuple(place)}",
                image=self.image[row],
                view=self.given[row],
                interval=tuple(int(end[(row, *place)]) for end in (self.low, self.high)),
            )


def intervals(view: View, image: Tensor, given: Tensor) -> Found:
    """Intervals of the view's support, for images (b, c, h, w) and given views."""
    return Found(**interval_function(view)(image, given), view=view, image=image, given=given)


def interval_function(view: View) -> Function:
    """The intervals as a function of images and given views."""
    support = view.support
    assert support is not None

    def compute(image: Tensor, given: Tensor) -> Results:
        found = support.intervals(image, given)
        for end in (found.low, found.high):
            check_tensor("Support.intervals", end, image.shape, torch.int64, law="support")
        return {"low": found.low, "high": found.high}

    return Function("Support.intervals", compute, (view.image.levels, view.view.levels))


def check_intervals(view: View, image: Tensor) -> None:
    """Checks the invariances of the intervals of images given their own views, and that these intervals are right.

    They must contain the values of the images, and must not leave out a possible value next to either end.
    """
    given, function = view(image), interval_function(view)
    found = Found(**check_invariances(function, image, given), view=view, image=image, given=given)
    function(image[:0], given[:0])
    wrong = found.outside(image)
    found.check(wrong, "given the image's own view, the interval does not contain the value of the image")
    beyond = (found.low < 0) | (found.high >= view.image.levels)
    found.check(beyond, "given the image's own view, the interval extends outside [0, levels)")
    # Values just outside of an interval are impossible: putting one into the image must change its view.
    for values, step in ((found.low, -1), (found.high, 1)):
        missing = torch.zeros(image.shape, dtype=torch.bool)
        for place in some(places(view.image)):
            at = (..., *place)
            beside = values[at] + step
            possible = (beside >= 0) & (beside < view.image.levels)
            changed = image.clone()
            changed[at] = torch.where(possible, beside, image[at])
            missing[at] = (view(changed) == given).flatten(1).all(1) & possible
        found.check(missing, "the interval does not contain a value next to it with which the image keeps its view")


def check_earlier(
    function: Function, image: Tensor, other: Tensor, given: Tensor, spec: ImageSpec, reach: int, law: str
) -> None:
    """Checks that results for a sub-pixel depend on earlier ones, in the rows above up to `reach` columns to the right.

    The rest is replaced by `other`. For the law `centers`, results depend on earlier pixels alone.
    """
    order = torch.arange(spec.dims).view(spec.height, spec.width, spec.channels).permute(2, 0, 1)
    rows, columns = torch.arange(spec.height)[:, None], torch.arange(spec.width)
    at = torch.tensor(some(range(spec.dims)))[:, None, None, None]
    row, column = at // spec.channels // spec.width, at // spec.channels % spec.width
    before = order < (at - at % spec.channels if law == "centers" else at)
    near = (rows >= row) | (columns <= column + reach)
    earlier = f"must depend on earlier {'pixels' if law == 'centers' else 'sub-pixels'} alone"
    beyond = f"depends on pixels of rows above that are further to its right than the walk's reach of {reach} columns"
    found = function(image, given)
    for keep, message in ((before, earlier), (near, beyond)):
        for number in range(len(image)):
            # Each of the mixed images keeps the values on which the result at one of the places may depend.
            mixed = torch.where(keep, image[number], other[number])
            again = function(mixed, given[number].expand(len(mixed), -1, -1, -1))
            for name, values in again.items():
                wrong = (values != found[name][number]) & (order == at) & _follows(mixed, again)
                if wrong.any():
                    row, *place = wrong.nonzero()[0].tolist()
                    what = f"{name} at (channel, row, column) {tuple(place)} {message}"
                    broken(law, what, image=image[number], with_another=mixed[row], view=given[number])


def _follows(image: Tensor, found: Results) -> Tensor:
    """Whether all earlier values are in their intervals, booleans (b, c, h, w). If not, an interval is meaningless."""
    if "low" not in found:
        return torch.tensor(True)
    channels, height, width = image.shape[1:]
    wrong = Interval(**found).outside(image).permute(0, 2, 3, 1).flatten(1).to(torch.int64)
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
