"""The support of a view that depends on weighted sums of sub-pixels, such as a mean of pixels or a lower resolution."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from auxar.model.image import ImageSpec, Interval, Known
from auxar.model.support import RepeatedWalk, Support, Walk, center


class SumSupport(Support):
    """The support of a view that depends on weighted sums: X̂ determines a range for the sum over each group.

    Each sub-pixel belongs to one group. Let the group's sum lie in lowest … highest, let S be the weighted sum of the
    group's earlier sub-pixels, R the most that its later sub-pixels can add, and w the weight of the sub-pixel. The
    sub-pixel then lies between (lowest - S - R) / w, rounded up, and (highest - S) / w, rounded down. Every integer in
    this interval is possible if each range holds at least as many integers as the largest weight of its group.

    The center of a sub-pixel is the mean of what is left of its group: the expected sum minus the values of the group's
    earlier pixels, divided by the weights of its sub-pixels in this and later pixels. It is clamped to the levels, and
    rounded down once, to a multiple of 2⁻²⁰.

    Args:
        image: Shape and range of the images.
        groups: A function that returns the number of each sub-pixel's group, 0 … count - 1, and the sub-pixel's weight,
            at least 1: integers that broadcast to (c, h, w). It is called once, when the support is first used.
        ranges: A function from views (b, *view.shape) to the lowest and the highest sum of every group: integers,
            (b, count) each.
        expected: A function from views to twice the sum that is expected of every group: integers, (b, count). By
            default, this is the lowest plus the highest sum.

    Examples:
        The view gives the sum of two pixels the range 3 … 4. The first pixel is 2:

        >>> image = ImageSpec(1, height=1, width=2, levels=4)
        >>> together = lambda: (torch.tensor(0), torch.tensor(1))
        >>> support = SumSupport(image, together, lambda view: (view.flatten(1), view.flatten(1) + 1))
        >>> found = support.intervals(torch.tensor([[[[2, 1]]]]), torch.tensor([[[[3]]]]))
        >>> found.low.tolist(), found.high.tolist()
        ([[[[0, 1]]]], [[[[3, 2]]]])
        >>> support.groups(torch.device("cpu")).number.tolist()
        [0, 0]

        The two pixels are expected to have a sum of 3½. After the first pixel, 1½ are left, the middle of the range:

        >>> (support.centers(torch.tensor([[[[2, 1]]]]), torch.tensor([[[[3]]]])) / 2**20).tolist()
        [[[[0.16666603088378906, 0.0]]]]
    """

    def __init__(
        self,
        image: ImageSpec,
        groups: Callable[[], tuple[Tensor, Tensor]],
        ranges: Callable[[Tensor], tuple[Tensor, Tensor]],
        expected: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.image = image
        self.ranges = ranges
        self.expected = expected
        self._groups = groups
        self._on: dict[torch.device, Groups] = {}

    def groups(self, device: torch.device) -> Groups:
        """The groups, with tensors on the given device."""
        if not self._on:
            # The groups are computed on the CPU even if the default device is another one.
            with torch.device("cpu"):
                self._on[torch.device("cpu")] = make_groups(self.image, *self._groups())
        if device not in self._on:
            self._on[device] = self._on[torch.device("cpu")].to(device)
        return self._on[device]

    def intervals(self, image: Tensor, view: Tensor) -> Interval:
        if image.is_meta:
            # Costs are computed on meta tensors, because images may not fit into memory. Only shapes matter here.
            return Interval(*(torch.empty_like(image, dtype=torch.int64) for _ in range(2)))
        groups = self.groups(image.device)
        before = groups.before(_in_order(image.to(torch.int64)) * groups.weight)
        lowest, highest = (sums.to(torch.int64)[:, groups.number] - before for sums in self.ranges(view))
        found = quotients(lowest - groups.rest, highest, groups.weight, self.image.levels)
        return Interval(*(_as_image(values, self.image) for values in found))

    def centers(self, image: Tensor, view: Tensor) -> Tensor:
        if image.is_meta:
            return torch.empty_like(image, dtype=torch.int64)
        groups = self.groups(image.device)
        before = groups.before(_in_order(image.to(torch.int64)) * groups.weight, pixels=True)
        lowest, highest = self.ranges(view) if self.expected is None else (self.expected(view), 0)
        expected = (lowest.to(torch.int64) + highest)[:, groups.number] - 2 * before
        return _as_image(center(expected, groups.most_left), self.image)

    def walk(self, view: Tensor, known: Known | None = None) -> Walk:
        # A subclass with centers of its own has no fast walk.
        return SumWalk(self, view, known) if type(self).centers is SumSupport.centers else RepeatedWalk(self, view)


@attrs.frozen(eq=False)
class Groups:
    """Groups of sub-pixels. Every tensor has shape (sub-pixels,) and, except for `sorted`, is in drawing order."""

    number: Tensor
    """Number of the group of each sub-pixel."""
    weight: Tensor
    """Weight of each sub-pixel in the sum of its group."""
    rest: Tensor
    """The most that later sub-pixels of the same group can add to the sum, for each sub-pixel."""
    sorted: Tensor
    """Indices of the sub-pixels, sorted by group and within a group by drawing order."""
    place: Tensor
    """Position of each sub-pixel in `sorted`."""
    first: Tensor
    """Position in `sorted` of the first sub-pixel of the same group, for each sub-pixel."""
    last: Tensor
    """Position in `sorted` of the last sub-pixel of the same group, for each sub-pixel."""
    first_in_pixel: Tensor
    """Position in `sorted` of the first sub-pixel of the same group and the same pixel, for each sub-pixel."""
    most_left: Tensor
    """Largest sum that the group's sub-pixels in this pixel and later ones can have, for each sub-pixel."""

    def before(self, values: Tensor, *, pixels: bool = False) -> Tensor:
        """Sums `values` over the earlier sub-pixels of the same group, for each sub-pixel: (b, sub-pixels).

        With `pixels`, over the sub-pixels of earlier pixels only.
        """
        values = values[:, self.sorted]
        sums = values.cumsum(1) - values
        return sums[:, self.first_in_pixel if pixels else self.place] - sums[:, self.first]

    def after(self, values: Tensor) -> Tensor:
        """Sums `values` over the later sub-pixels of the same group, for each sub-pixel: (b, sub-pixels)."""
        sums = values[:, self.sorted].cumsum(1)
        return sums[:, self.last] - sums[:, self.place]

    def reach(self, image: ImageSpec) -> int:
        """The most columns that a sub-pixel lies to the right of one of its group in a row below; 0 if none does."""
        columns = torch.arange(image.width).repeat_interleave(image.channels)
        rightmost = torch.full((int(self.number.max()) + 1,), -1)
        reach = 0
        for row in self.number.cpu().view(image.height, -1):
            reach = max(reach, int((rightmost[row] - columns).max()))
            rightmost.scatter_reduce_(0, row, columns, "amax")
        return reach

    def to(self, device: torch.device) -> Groups:
        """Copies the groups to a device."""
        return Groups(*(values.to(device) for values in attrs.astuple(self, recurse=False)))


def make_groups(image: ImageSpec, number: Tensor, weight: Tensor) -> Groups:
    """Creates the groups from the two tensors that the function `groups` of a `SumSupport` returns."""
    number, weight = (_in_order(values.to(torch.int64).expand(1, *image.shape))[0] for values in (number, weight))
    by_group, sorted_ = number.sort(stable=True)
    place = sorted_.argsort()
    number = number.contiguous()
    first = torch.searchsorted(by_group, number)
    last = torch.searchsorted(by_group, number, right=True) - 1
    # Sub-pixels of one group and one pixel are neighbors in `sorted_`.
    begins = by_group * image.dims + sorted_ // image.channels
    first_in_pixel = torch.searchsorted(begins, begins)[place]
    groups = Groups(number, weight, weight, sorted_, place, first, last, first_in_pixel, weight)
    rest = groups.after((weight * (image.levels - 1))[None])[0]
    most = rest + weight * (image.levels - 1)
    return attrs.evolve(groups, rest=rest, most_left=most[sorted_][first_in_pixel])


class SumWalk(Walk):
    """A walk that tracks, for each group, the range in which the sum of the remaining sub-pixels must lie.

    Intervals take later known pixels into account. If any image has both the known pixels and the view, then so does
    the drawn image.
    """

    in_place = True

    def __init__(self, support: SumSupport, view: Tensor, known: Known | None) -> None:
        groups = support.groups(view.device)
        channels = support.image.channels
        self.levels = support.image.levels
        self.reach = groups.reach(support.image)
        lowest, highest = (sums.to(torch.int64) for sums in support.ranges(view))
        least, most = torch.zeros_like(groups.rest)[None], groups.rest[None]
        if known is not None:
            ends = (known.lowest(), known.highest(self.levels))
            least, most = (
                groups.after(_in_order(values.to(view.device, torch.int64)) * groups.weight) for values in ends
            )
        # Shape (channels, places + 1, …). The last place is outside of the image, where every value is possible.
        self.groups = _by_place(groups.number, channels, lowest.shape[1])
        self.weights = _by_place(groups.weight, channels, 1)
        self.most_left = _by_place(groups.most_left, channels, 1)
        self.least, self.most = (_by_place(values.T, channels, 0) for values in (least, most))
        anything = lowest.new_full((len(view), 1), 2**62)
        self.lowest = torch.cat([lowest, -anything], dim=1).T.contiguous()
        """Lowest sum of the remaining sub-pixels of each group, shape (count + 1, b). `take` updates it."""
        self.highest = torch.cat([highest, anything], dim=1).T.contiguous()
        """Highest sum of the remaining sub-pixels of each group, shape (count + 1, b). `take` updates it."""
        expected = lowest + highest if support.expected is None else support.expected(view).to(torch.int64)
        self.expected = torch.cat([expected, torch.zeros_like(anything)], dim=1).T.contiguous()
        """Twice the expected sum of the remaining sub-pixels of each group, shape (count + 1, b). `take` updates it."""

    def centers(self, places: Tensor) -> Tensor:
        return center(self.expected[self.groups[:, places]], self.most_left[:, places, None]).permute(1, 2, 0)

    def interval(self, places: Tensor, channel: int) -> Interval:
        group = self.groups[channel][places]
        lowest = self.lowest[group] - self.most[channel][places]
        highest = self.highest[group] - self.least[channel][places]
        return Interval(*quotients(lowest, highest, self.weights[channel][places][:, None], self.levels))

    def take(self, places: Tensor, channel: int, values: Tensor) -> None:
        group = self.groups[channel][places]
        added = values * self.weights[channel][places][:, None]
        self.lowest.index_add_(0, group, added, alpha=-1)
        self.highest.index_add_(0, group, added, alpha=-1)
        self.expected.index_add_(0, group, added, alpha=-2)


def quotients(lowest: Tensor, highest: Tensor, weights: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """The lowest and the highest integer x in [0, levels) with lowest ≤ weights · x ≤ highest.

    If there is none, the first result is greater than the second.
    """
    low = (lowest.neg() // weights).neg_().clamp_(min=0)
    return low, (highest // weights).clamp_(max=levels - 1)


def _as_image(values: Tensor, image: ImageSpec) -> Tensor:
    """Reshapes (b, h · w · c) in drawing order to (b, c, h, w)."""
    channels, height, width = image.shape
    return values.view(-1, height, width, channels).permute(0, 3, 1, 2)


def _in_order(values: Tensor) -> Tensor:
    """Flattens (b, c, h, w) to (b, h · w · c) in drawing order: by pixel, and within a pixel by channel."""
    return values.permute(0, 2, 3, 1).flatten(1)


def _by_place(values: Tensor, channels: int, outside: int) -> Tensor:
    """Reshapes (sub-pixels, …) to (channels, places + 1, …). Entries of the last place have the value `outside`."""
    by_pixel = values.unflatten(0, (-1, channels)).transpose(0, 1)
    return torch.cat([by_pixel, by_pixel.new_full((channels, 1, *by_pixel.shape[2:]), outside)], dim=1).contiguous()
