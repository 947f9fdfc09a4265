"""Centers: the values near which sub-pixels are expected, to which heads move their distributions (`Head.around`).

With a view, its support gives them (`Support.centers`); without one, they are left + above - above-left. A head with
`Head.neighbors` also gets the values of the neighbors themselves, because drawings repeat them exactly. A head is
centered in likelihoods (`CausalDistribution.parameters_of`), and in drawing and coding (`moved_to_centers`).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from auxar.model.head import Head
from auxar.model.image import ImageSpec, Interval
from auxar.model.support import Walk, center

REFERENCES = 4
"""Number of values around which a head with `Head.neighbors` may predict: the center and three neighbors."""


def neighbor_centers(image: Tensor, levels: int) -> Tensor:
    """The center of every sub-pixel of images (b, c, h, w), given the pixels around it: int64, in units of 2⁻²⁰.

    The expected value is left + above - above-left, of the same channel and clamped to the levels. In the first row it
    is the value to the left, in the first column the value above, and for the first pixel the middle of the range.
    """
    found = _center(*_neighbors(image), levels)
    found[..., 0, 0] = 0
    return found


def with_neighbors(centers: Tensor, image: Tensor, levels: int) -> Tensor:
    """Appends the values to the left, above, and above-left to centers (b, c, h, w): int64, (b, 4 · c, h, w).

    Values are in the unit of centers. Outside of the image, they are those of the level 0.
    """
    return torch.cat([centers, center(2 * torch.cat(_neighbors(image), 1), levels - 1)], 1)


def _neighbors(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Zeros around the image give the left value in the first row, and the value above in the first column.
    wide = pad(image.to(torch.int64), (1, 0, 1, 0))
    return wide[..., 1:, :-1], wide[..., :-1, 1:], wide[..., :-1, :-1]


class NeighborWalk(Walk):
    """A walk that keeps the drawn values, for `neighbor_centers` and, if `append`, for `with_neighbors`.

    Intervals, and centers if there are any, come from `walk`, the walk of a support. It is None without a view.
    """

    def __init__(
        self, image: ImageSpec, count: int, device: torch.device, walk: Walk | None = None, *, append: bool = False
    ) -> None:
        self.walk = walk
        self.append = append
        self.reach = 0 if walk is None else walk.reach
        self.in_place = walk is None or walk.in_place
        self.levels = image.levels
        self.width = image.width
        size = (image.height + 2) * (image.width + 1)
        self.values = torch.zeros((image.channels, size, count), dtype=torch.int64, device=device)
        """Drawn values, (channels, positions, images). Positions are those of the image with a column of zeros on its
        left, a row of zeros above, and a row below it for the place outside of the image."""

    def interval(self, places: Tensor, channel: int) -> Interval:
        if self.walk is not None:
            return self.walk.interval(places, channel)
        low = self.values.new_zeros((len(places), self.values.shape[2]))
        return Interval(low, low + (self.levels - 1))

    def take(self, places: Tensor, channel: int, values: Tensor) -> None:
        self.values[channel].index_copy_(0, self._positions(places), values)
        if self.walk is not None:
            self.walk.take(places, channel, values)

    def centers(self, places: Tensor) -> Tensor:
        own = self._positions(places)
        above = own - (self.width + 1)
        left, upper, corner = (self.values.index_select(1, at) for at in (own - 1, above, above - 1))
        found = None if self.walk is None else self.walk.centers(places)
        if found is None:
            found = torch.where((places == 0)[:, None], 0, _center(left, upper, corner, self.levels)).permute(1, 2, 0)
        if self.append:
            neighbors = center(2 * torch.cat([left, upper, corner]), self.levels - 1)
            found = torch.cat([found, neighbors.permute(1, 2, 0)], 2)
        return found

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
