"""Supports of views that depend on sums of sub-pixels, as means and weighted means do."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from auxar.interfaces import ImageSpec, Interval, Known, Support, Walk


class SumSupport(Support):
    """The support of views that depend on sums: X̂ gives a range to each of several weighted sums of sub-pixels.

    Each sub-pixel belongs to one group. With S the sum over its group so far, R the most that those to come can add
    and w its weight, its value lies between (lowest - S - R) / w, rounded up, and (highest - S) / w, rounded down. That
    is exact if no step of a sum can jump over a range: if each range holds at least as many integers as the largest
    weight of its group.

    Args:
        image: The image whose sub-pixels are summed.
        groups: Gives the number of each sub-pixel's group, 0 … count - 1, and what it counts in the group's sum, from
            1 on: integers that broadcast to (c, h, w). Called once, when the support is first used.
        ranges: Views (b, *view.shape) to the lowest and the highest sum of every group, integers, (b, count) each.

    Examples:
        The sum of two pixels is 3 or 4, and the first of them is 2:

        >>> image = ImageSpec(1, height=1, width=2, levels=4)
        >>> together = lambda: (torch.tensor(0), torch.tensor(1))
        >>> support = SumSupport(image, together, lambda view: (view.flatten(1), view.flatten(1) + 1))
        >>> found = support.intervals(torch.tensor([[[[2, 1]]]]), torch.tensor([[[[3]]]]))
        >>> found.low.tolist(), found.high.tolist()
        ([[[[0, 1]]]], [[[[3, 2]]]])
    """

    def __init__(
        self,
        image: ImageSpec,
        groups: Callable[[], tuple[Tensor, Tensor]],
        ranges: Callable[[Tensor], tuple[Tensor, Tensor]],
    ) -> None:
        self.image = image
        self.ranges = ranges
        self._groups = groups
        self._on: dict[torch.device, Groups] = {}

    def groups(self, device: torch.device) -> Groups:
        """The groups, with their tensors on a device."""
        if not self._on:
            # Computed on the CPU, whatever the default device is.
            with torch.device("cpu"):
                self._on[torch.device("cpu")] = make_groups(self.image, *self._groups())
        if device not in self._on:
            self._on[device] = self._on[torch.device("cpu")].to(device)
        return self._on[device]

    def intervals(self, image: Tensor, view: Tensor) -> Interval:
        if image.is_meta:
            # The cost of a model is computed on shapes alone: its images may be larger than any memory.
            return Interval(*(torch.empty_like(image, dtype=torch.int64) for _ in range(2)))
        groups = self.groups(image.device)
        before = groups.before(_in_order(image.to(torch.int64)) * groups.weight)
        lowest, highest = (sums.to(torch.int64)[:, groups.number] - before for sums in self.ranges(view))
        channels, height, width = self.image.shape
        low, high = (
            found.view(-1, height, width, channels).permute(0, 3, 1, 2)
            for found in quotients(lowest - groups.rest, highest, groups.weight, self.image.levels)
        )
        return Interval(low, high)

    def walk(self, view: Tensor, known: Known | None = None) -> Walk:
        return SumWalk(self, view, known)


@attrs.frozen(eq=False)
class Groups:
    """Groups of sub-pixels: tensors (sub-pixels,) in the order in which they are drawn."""

    number: Tensor
    weight: Tensor
    rest: Tensor
    """The most that the later sub-pixels of its group can add."""
    sorted: Tensor
    """Sub-pixels ordered by group, and within each as they are drawn."""
    place: Tensor
    """The position of each sub-pixel in that order."""
    first: Tensor
    """The position of the first sub-pixel of its group."""
    last: Tensor
    """The position of the last sub-pixel of its group."""

    def before(self, values: Tensor) -> Tensor:
        """For each sub-pixel, the sum of the values (b, sub-pixels) of earlier ones of its group."""
        values = values[:, self.sorted]
        sums = values.cumsum(1) - values
        return sums[:, self.place] - sums[:, self.first]

    def after(self, values: Tensor) -> Tensor:
        """For each sub-pixel, the sum of the values (b, sub-pixels) of later ones of its group."""
        sums = values[:, self.sorted].cumsum(1)
        return sums[:, self.last] - sums[:, self.place]

    def reach(self, image: ImageSpec) -> int:
        """How far to the right of a sub-pixel others of its group lie in rows above."""
        columns = torch.arange(image.width).repeat_interleave(image.channels)
        rightmost = torch.full((int(self.number.max()) + 1,), -1)
        reach = 0
        for row in self.number.cpu().view(image.height, -1):
            reach = max(reach, int((rightmost[row] - columns).max()))
            rightmost.scatter_reduce_(0, row, columns, "amax")
        return reach

    def to(self, device: torch.device) -> Groups:
        return Groups(*(values.to(device) for values in attrs.astuple(self, recurse=False)))


def make_groups(image: ImageSpec, number: Tensor, weight: Tensor) -> Groups:
    """Groups of the sub-pixels of an image, from the results of the function that `SumSupport` is given."""
    number, weight = (_in_order(values.to(torch.int64).expand(1, *image.shape))[0] for values in (number, weight))
    by_group, sorted_ = number.sort(stable=True)
    place = sorted_.argsort()
    number = number.contiguous()
    first = torch.searchsorted(by_group, number)
    last = torch.searchsorted(by_group, number, right=True) - 1
    groups = Groups(number, weight, weight, sorted_, place, first, last)
    return attrs.evolve(groups, rest=groups.after((weight * (image.levels - 1))[None])[0])


class SumWalk(Walk):
    """Keeps the range that the rest of each group's sum must still lie in.

    It looks ahead to known pixels: if an image with these pixels can have the view, the drawn image has it.
    """

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
        # By place: (channels, places, …), the last place being outside of the image, where every value is possible.
        self.groups = _by_place(groups.number, channels, lowest.shape[1])
        self.weights = _by_place(groups.weight, channels, 1)
        self.least, self.most = (_by_place(values.T, channels, 0) for values in (least, most))
        anything = lowest.new_full((len(view), 1), 2**62)
        self.lowest = torch.cat([lowest, -anything], dim=1).T.contiguous()
        """(count + 1, b): the least that each group's sum still needs, changed by `take`."""
        self.highest = torch.cat([highest, anything], dim=1).T.contiguous()

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


def quotients(lowest: Tensor, highest: Tensor, weights: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Integers x in [0, levels) with lowest ≤ weights · x ≤ highest: the first and the last."""
    low = (lowest.neg() // weights).neg_().clamp_(min=0)
    return low, (highest // weights).clamp_(max=levels - 1)


def _in_order(values: Tensor) -> Tensor:
    """(b, c, h, w) to (b, h · w · c): pixel after pixel, and within a pixel channel after channel."""
    return values.permute(0, 2, 3, 1).flatten(1)


def _by_place(values: Tensor, channels: int, outside: int) -> Tensor:
    """(sub-pixels in order, …) to (channels, places + 1, …)."""
    by_pixel = values.unflatten(0, (-1, channels)).transpose(0, 1)
    return torch.cat([by_pixel, by_pixel.new_full((channels, 1, *by_pixel.shape[2:]), outside)], dim=1).contiguous()
