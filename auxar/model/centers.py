"""Centers: the values near which sub-pixels are expected, to which heads move their distributions (`Head.around`).

With a view, its support gives them (`Support.centers`); without one, they are left + above - above-left. A head is
centered in likelihoods (`CausalDistribution.parameters_of`), and in drawing and coding (`moved_to_centers`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from auxar.model.head import Head
from auxar.model.image import ImageSpec, Interval
from auxar.model.support import Walk, center


def neighbor_centers(image: Tensor, levels: int) -> Tensor:
    """The center of every sub-pixel of images (b, c, h, w), given the pixels around it: int64, in units of 2⁻²⁰.

    The expected value is left + above - above-left, of the same channel and clamped to the levels. In the first row it
    is the value to the left, in the first column the value above, and for the first pixel the middle of the range.
    """
    # Zeros around the image give the left value in the first row, and the value above in the first column.
    wide = pad(image.to(torch.int64), (1, 0, 1, 0))
    found = _center(wide[..., 1:, :-1], wide[..., :-1, 1:], wide[..., :-1, :-1], levels)
    found[..., 0, 0] = 0
    return found


class NeighborWalk(Walk):
    """A walk for images without a view that keeps the drawn values, from which it computes `neighbor_centers`."""

    reach = 0
    in_place = True

    def __init__(self, image: ImageSpec, count: int, device: torch.device) -> None:
        self.levels = image.levels
        self.width = image.width
        size = (image.height + 2) * (image.width + 1)
        self.values = torch.zeros((image.channels, size, count), dtype=torch.int64, device=device)
        """Drawn values, (channels, positions, images). Positions are those of the image with a column of zeros on its
        left, a row of zeros above, and a row below it for the place outside of the image."""

    def interval(self, places: Tensor, channel: int) -> Interval:
        low = self.values.new_zeros((len(places), self.values.shape[2]))
        return Interval(low, low + (self.levels - 1))

    def take(self, places: Tensor, channel: int, values: Tensor) -> None:
        self.values[channel].index_copy_(0, self._positions(places), values)

    def centers(self, places: Tensor) -> Tensor:
        own = self._positions(places)
        above = own - (self.width + 1)
        left, upper, corner = (self.values.index_select(1, at) for at in (own - 1, above, above - 1))
        found = _center(left, upper, corner, self.levels)
        return torch.where((places == 0)[:, None], 0, found).permute(1, 2, 0)

    def _positions(self, places: Tensor) -> Tensor:
        return (places // self.width + 1) * (self.width + 1) + places % self.width + 1


def _center(left: Tensor, above: Tensor, corner: Tensor, levels: int) -> Tensor:
    return center(2 * (left + above - corner), levels - 1)


def moved_to_centers(head: Head, walk: Walk | None, places: Tensor, parameters: Tensor) -> Tensor:
    """The parameters of the pixels at places (n,), moved to the centers of a walk by `Head.around`.

    `parameters` has shape (n · b, parameter_count). Parameters that were moved have float64.
    """
    centers = None if walk is None or not head.centered else walk.centers(places)
    return parameters if centers is None else head.around(parameters.double(), centers.flatten(0, 1))
