"""Checks of the centers of supports and their walks, and of the heads that use centers."""

import functools

import attrs
import torch
from torch import Tensor

from auxar.model import CENTER_BITS, REFERENCES, Head, ImageSpec, IntegerHead, View
from auxar.testing.examples import all_images
from auxar.testing.intervals import check_earlier
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, check_equal, check_tensor

ONE = 2**CENTER_BITS
"""The center that stands for the largest value."""
MOST_PIXELS = 2**12
"""The largest number of possible values of a pixel for which their probabilities are summed."""


def check_centers(view: View, image: Tensor, other: Tensor, reach: int) -> None:
    """Checks the law `centers` of a view's support, for images `image` that are given their own views.

    `other` holds as many images with any views, such as those that a free decoder draws.
    """
    assert view.support is not None
    given, function = view(image), _function(view)
    for before, after in ((image, other), (other, image)):
        if view.support.centers(before, given) is not None:
            check_invariances(function, before, given)
            check_earlier(function, before, after, given, view.image, reach, "centers")


def _function(view: View) -> Function:
    support = view.support
    assert support is not None

    def compute(image: Tensor, given: Tensor) -> Results:
        found = support.centers(image, given)
        check_tensor("Support.centers", found, image.shape, torch.int64, law="centers")
        assert found is not None
        if ((found < -ONE) | (found > ONE)).any():
            broken("centers", f"a center lies outside of -2²⁰ … 2²⁰ (= ±{ONE})", image=image, view=given)
        return {"the center": found}

    return Function("Support.centers", compute, (view.image.levels, view.view.levels))


def centers_of(head: Head, spec: ImageSpec) -> int:
    """Number of channels of the centers that a centered head gets: those of the image, and 3 neighbors of each."""
    return spec.channels * (REFERENCES if head.neighbors else 1)


def check_around(head: Head, spec: ImageSpec, parameters: Tensor) -> None:
    """Checks the law `around` of a head, for images with the channels and levels of `spec`.

    `parameters` has shape (b, parameter_count, h, w).
    """
    integers = head.integer_head()
    if isinstance(integers, IntegerHead):
        for name in ("centered", "neighbors"):
            if getattr(integers, name) != getattr(head, name):
                broken("around", f"`{name}` of the head and of its integer_head must be equal")
    if not head.centered:
        return
    flat = parameters.permute(0, 2, 3, 1).flatten(0, 2)
    channels = centers_of(head, spec)
    low, middle, high = (torch.full((len(flat), channels), center) for center in (-ONE // 2, 0, ONE // 2))
    found = check_invariances(Function("around", functools.partial(_moved, head)), flat, low)["around"]
    whole = head.around(parameters, low.view(-1, *parameters.shape[2:], channels).permute(0, 3, 1, 2))
    message = "around must give equal results for equal parameters and centers, in any shape"
    check_equal("around", message, whole.permute(0, 2, 3, 1).flatten(0, 2), found)
    _moved(head, flat.to(torch.bfloat16), low)
    if spec.levels**spec.channels <= MOST_PIXELS:
        _check_moved(head, spec, flat, (low, middle, high))


def _moved(head: Head, parameters: Tensor, centers: Tensor) -> Results:
    found = head.around(parameters, centers)
    dtype = torch.float32 if getattr(found, "dtype", None) == torch.float32 else torch.float64
    check_tensor("around", found, parameters.shape, dtype, law="around")
    return {"around": found}


def _check_moved(head: Head, spec: ImageSpec, parameters: Tensor, centers: tuple[Tensor, Tensor, Tensor]) -> None:
    """Checks that a center of 0 changes nothing, and that the mean of a pixel's first channel follows the centers."""
    pixels = all_images(attrs.evolve(spec, height=1, width=1)).flatten(1)
    count = len(parameters)

    def chances(parameters: Tensor) -> Tensor:
        every = parameters.double()[:, :, None, None].expand(-1, -1, 1, len(pixels))
        return head.log_prob(every, pixels.T[None, :, None].expand(count, -1, -1, -1)).flatten(1).exp()

    low, middle, high = (chances(head.around(parameters.double(), each)) for each in centers)
    message = "a center of 0, which is the middle of the range, must leave distributions as they are"
    check_equal("around", message, middle, chances(parameters), 1e-9)
    if not (low @ pixels[:, 0].double()).sum() < (high @ pixels[:, 0].double()).sum():
        broken("around", "the mean of the first channel must be greater around a higher center")
