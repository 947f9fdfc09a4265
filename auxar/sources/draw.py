"""A pixel source that draws pixels from a network's predictions, optionally restricted to a view."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.interfaces import (
    CausalNetwork,
    DrawnPixels,
    DrawRule,
    Head,
    Interval,
    PixelSource,
    RestrictableHead,
    SampleRequest,
    Walk,
)
from auxar.sources.places import by_place


@attrs.frozen(eq=False)
class DrawSource(PixelSource):
    """A pixel source that draws pixels from a head's distribution. `DrawSource.of` creates it from a request.

    Known pixels are returned unchanged. The other pixels respect the limits and the restriction. The first dimension of
    tensors is the place, row · width + column; its last entry stands for the place outside of the image.
    """

    head: Head
    """The likelihood head."""
    levels: int
    """Number of values that a sub-pixel can take."""
    rule: DrawRule
    """The drawing rule."""
    uniforms: Tensor
    """Uniform noise in (0, 1): float64, shape (h · w + 1, b, n), where drawing one pixel uses n numbers."""
    limits: Interval | None = None
    """Lowest and highest allowed values, int64, (h · w + 1, b, c) each. For a known pixel, both are its value. None
    allows all values."""
    walk: Walk | None = None
    """The walk along the support of a restriction; None if drawing is not restricted."""
    takes_outside: bool = attrs.field(default=True, init=False)
    count: int = attrs.field(init=False)
    reach: int = attrs.field(init=False)
    in_place: bool = attrs.field(init=False)

    @count.default
    def _images(self) -> int:
        return self.uniforms.shape[1]

    @reach.default
    def _reach_of_the_walk(self) -> int:
        return 0 if self.walk is None else self.walk.reach

    @in_place.default
    def _walks_in_place(self) -> bool:
        return self.walk is None or self.walk.in_place

    @classmethod
    def of(cls, network: CausalNetwork, request: SampleRequest) -> DrawSource:
        """Creates the source for a network and a request, with tensors on the network's device.

        Raises `UserError` if the known pixels do not match the network's image, or if the request has a restriction and
        the network's head cannot be restricted.
        """
        head, image, known = network.head, network.image, request.known
        device = next(network.parameters()).device
        limits = None
        if known is not None:
            known.check(image, len(request.numbers))
            ends = (known.lowest(), known.highest(image.levels))
            limits = Interval(*(by_place(values.to(device, torch.int64)) for values in ends))
        walk = None if request.restriction is None else request.restriction.walk(known)
        noise = head.uniform_count if walk is None else restrictable(head).restricted_uniform_count
        uniforms = by_place(request.uniforms((noise, image.height, image.width), device))
        return cls(head, image.levels, request.rule, uniforms, limits, walk)

    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        noise = self.uniforms.index_select(0, places)
        limits = self.limits
        if self.walk is None:
            drawn = self.head.draw(parameters, noise.flatten(0, 1), self.rule).view(*noise.shape[:2], -1)
            return drawn if limits is None else drawn.clamp(limits.low[places], limits.high[places])
        if limits is not None:
            limits = Interval(limits.low[places].flatten(0, 1), limits.high[places].flatten(0, 1))
        pixels = DrawnPixels(self.walk, self.levels, places, limits)
        head = restrictable(self.head)
        return head.draw_restricted(parameters, noise.flatten(0, 1), self.rule, pixels).view(*noise.shape[:2], -1)


def restrictable(head: Head) -> RestrictableHead:
    """Returns the head. Raises `UserError` if it cannot be restricted to intervals of values."""
    if not isinstance(head, RestrictableHead):
        raise UserError(
            f"the head {type(head).__name__} cannot be restricted to intervals of values; use a RestrictableHead"
        )
    return head
