"""Checks of the centers of supports and their walks, and of the heads that use centers."""

from __future__ import annotations

import functools
from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from auxar.model import CENTER_BITS, Head, ImageSpec, IntegerHead, Known, View
from auxar.testing.examples import all_images
from auxar.testing.laws import broken, channels_last, columns_first, described, devices, runs, untouched

ONE = 2**CENTER_BITS
"""The center that stands for the largest value."""
MOST_PIXELS = 2**12
"""The largest number of possible values of a pixel for which their probabilities are summed."""


def check_centers(view: View, image: Tensor, other: Tensor, noise: torch.Generator) -> None:
    """Checks the law `centers` of a view's support, for images `image` that are given their own views.

    `other` holds as many images with any views, such as those that a free decoder draws.
    """
    assert view.support is not None
    given = view(image)
    if _centers(view, image, given) is None:
        walk = view.support.walk(given)
        if walk.centers(torch.tensor([0])) is not None:
            broken("centers", "Walk.centers must return None, because Support.centers does", built_for=view.image)
        return
    for before, after in ((image, other), (other, image)):
        _check_order(view, before, after, given)
        _check_forms(view, before, given)
        _check_walk(view, before, given, None)
    mask = torch.rand(len(image), *image.shape[2:], generator=noise) < torch.rand((), generator=noise)
    _check_walk(view, image, given, Known(image, mask))


def _centers(view: View, image: Tensor, given: Tensor) -> Tensor | None:
    """The centers that the support gives. Checks their dtype, shape and range, and that no argument changes."""
    assert view.support is not None
    with untouched("Support.centers", image, given), runs("Support.centers", image=image, view=given):
        found = view.support.centers(image, given)
    if found is None:
        return None
    if not isinstance(found, Tensor) or found.dtype != torch.int64 or found.shape != image.shape:
        expected = f"torch.int64 of shape {tuple(image.shape)}"
        broken("centers", f"Support.centers must return {expected}, got {described(found)}", image=image)
    if ((found < -ONE) | (found > ONE)).any():
        broken("centers", f"a center lies outside of -2²⁰ … 2²⁰ (= ±{ONE})", image=image, view=given, centers=found)
    return found


def _check_forms(view: View, image: Tensor, given: Tensor) -> None:
    """Checks that centers do not depend on batch, dtype, memory layout and device."""
    expected = _centers(view, image, given)
    whole: dict[str, Callable[[Tensor], Tensor]] = {
        "in reversed order": functools.partial(torch.flip, dims=[0]),
        "with channels last in memory": channels_last,
        "with columns first in memory": columns_first,
        **{f"on {device}": functools.partial(torch.Tensor.to, device=device) for device in devices()[1:]},
    }
    if view.view.levels <= 2**15 and view.image.levels <= 2**15:
        whole["in torch.int16"] = functools.partial(torch.Tensor.to, dtype=torch.int16)
    for how, change in whole.items():
        found = _centers(view, change(image), change(given))
        if how == "in reversed order" and found is not None:
            found = found.flip(0)
        if found is None or expected is None or not torch.equal(found.cpu(), expected):
            broken("centers", f"the centers differ for images and views {how}", image=image, view=given)


def _check_order(view: View, image: Tensor, other: Tensor, given: Tensor) -> None:
    """Checks that centers depend on the view and on earlier pixels alone.

    These are the pixels of the rows above, up to the walk's reach to the right, and those to the left in the same row.
    """
    assert view.support is not None
    expected, reach = _centers(view, image, given), view.support.walk(given).reach
    assert expected is not None
    rows, columns = torch.arange(image.shape[2])[:, None], torch.arange(image.shape[3])
    for row, column in torch.cartesian_prod(rows[:, 0], columns).tolist():
        earlier = ((rows < row) & (columns <= column + reach)) | ((rows == row) & (columns < column))
        found = _centers(view, torch.where(earlier, image, other), given)
        if found is None or not torch.equal(found[:, :, row, column], expected[:, :, row, column]):
            broken(
                "centers",
                f"the center at (row, column) {(row, column)} depends on pixels other than those to its left, and "
                f"those of rows above up to the walk's reach of {reach} columns to its right",
                image=image,
                with_another=other,
                view=given,
            )


def _check_walk(view: View, image: Tensor, given: Tensor, known: Known | None) -> None:
    """Checks that a walk along images gives the centers of whole images, also if pixels are known in advance."""
    assert view.support is not None
    expected, outside = _centers(view, image, given), image.shape[2] * image.shape[3]
    assert expected is not None
    walk, by_place = view.support.walk(given, known), image.to(torch.int64).flatten(2).permute(2, 0, 1)
    for place in range(outside):
        places = torch.tensor([place, outside])
        with runs("Walk.centers", view=given, places=places):
            found, again = walk.centers(places), walk.centers(places)
        size = (2, len(image), image.shape[1])
        if not isinstance(found, Tensor) or found.dtype != torch.int64 or tuple(found.shape) != size:
            broken("centers", f"Walk.centers must return torch.int64 of shape {size}, got {described(found)}")
        if again is None or not torch.equal(found, again):
            broken("centers", "Walk.centers must return the same if it is called twice", view=given)
        if not torch.equal(found[0], expected.flatten(2)[:, :, place]):
            which = "a walk with known pixels" if known is not None else "a walk"
            broken("centers", f"the centers of {which} differ from Support.centers", image=image, view=given)
        for channel in range(image.shape[1]):
            values = by_place[place, :, channel][None]
            walk.take(places, channel, torch.cat([values, torch.zeros_like(values)]))


def check_around(head: Head, spec: ImageSpec, parameters: Tensor) -> None:
    """Checks the law `around` of a head, for images with the channels and levels of `spec`.

    `parameters` has shape (b, parameter_count, h, w).
    """
    integers = head.integer_head()
    if isinstance(integers, IntegerHead) and integers.centered != head.centered:
        broken("around", "the head and its integer_head must both be `centered`, or neither")
    if not head.centered:
        return
    b, _, h, w = parameters.shape
    low, middle, high = (torch.full((b, spec.channels, h, w), center) for center in (-ONE // 2, 0, ONE // 2))
    with untouched("around", parameters, low), runs("around", image=spec):
        found, again = head.around(parameters, low), head.around(parameters, low)
        flat = head.around(parameters.permute(0, 2, 3, 1).flatten(0, 2), low.permute(0, 2, 3, 1).flatten(0, 2))
        half = head.around(parameters.to(torch.bfloat16), low)
    wide = (torch.float32, torch.float64)
    if found.shape != parameters.shape or found.dtype not in wide or half.dtype not in wide:
        message = "around must return float32 or float64 of the shape of parameters"
        broken("around", f"{message}, got {described(found)} and {half.dtype}")
    if not torch.equal(found, again) or not torch.equal(flat, found.permute(0, 2, 3, 1).flatten(0, 2)):
        broken("around", "around must give equal results for equal parameters and centers, in any shape", image=spec)
    with runs("log_prob", image=spec):
        if spec.levels**spec.channels <= MOST_PIXELS:
            _check_moved(head, spec, parameters, (low, middle, high))


def _check_moved(head: Head, spec: ImageSpec, parameters: Tensor, centers: tuple[Tensor, Tensor, Tensor]) -> None:
    """Checks that a center of 0 changes nothing, and that the mean of a pixel's first channel follows the centers."""
    pixels = all_images(attrs.evolve(spec, height=1, width=1)).flatten(1)
    count = parameters[:, 0].numel()

    def chances(parameters: Tensor) -> Tensor:
        every = parameters.double().permute(0, 2, 3, 1).reshape(count, -1, 1, 1).expand(-1, -1, 1, len(pixels))
        return head.log_prob(every, pixels.T[None, :, None].expand(count, -1, -1, -1)).flatten(1).exp()

    low, middle, high = (chances(head.around(parameters.double(), each)) for each in centers)
    if not torch.allclose(middle, chances(parameters), atol=1e-9):
        broken("around", "a center of 0, which is the middle of the range, must leave distributions as they are")
    if not (low @ pixels[:, 0].double()).sum() < (high @ pixels[:, 0].double()).sum():
        broken("around", "the mean of the first channel must be greater around a higher center", image=spec)
