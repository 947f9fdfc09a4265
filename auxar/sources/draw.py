"""Pixels drawn from what a network predicts: by a rule, with given noise, freely or restricted to a view."""

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
    """Draws pixels from a head's distribution, as a request asks: see `of`.

    Known pixels are given back as they are; limits and the views of a restriction are kept. Tensors have a row for each
    place row · width + column, and a last one for the place outside of the image.
    """

    head: Head
    levels: int
    rule: DrawRule
    uniforms: Tensor
    """Noise, float64, (h · w + 1, b, numbers that drawing one pixel takes)."""
    limits: Interval | None = None
    """Lowest and highest allowed values, int64, (h · w + 1, b, c) each; both are the value of a known pixel."""
    walk: Walk | None = None
    """The walk along a restriction's support; None draws freely."""
    takes_outside: bool = attrs.field(default=True, init=False)
    count: int = attrs.field(init=False)
    reach: int = attrs.field(init=False)

    @count.default
    def _images(self) -> int:
        return self.uniforms.shape[1]

    @reach.default
    def _reach_of_the_walk(self) -> int:
        return 0 if self.walk is None else self.walk.reach

    @classmethod
    def of(cls, network: CausalNetwork, request: SampleRequest) -> DrawSource:
        """The source of the pixels that a network predicts and a request asks for, on the network's device.

        Raises `UserError` for known pixels that do not fit, and for a restriction of a head that cannot be restricted.
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
    """The head itself. Raises `UserError` for one that cannot be restricted to intervals of values."""
    if not isinstance(head, RestrictableHead):
        raise UserError(f"{type(head).__name__} cannot be restricted to intervals of values")
    return head
