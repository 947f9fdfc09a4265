"""Checks of shipped sources against the program that they give pixels to.

The library reads and writes memory by its address and checks no index, so nothing that does not fit may reach it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from auxar import DrawSource, ForceSource, Interval, PixelSource, UserError
from auxar.support import SumWalk
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_samplers.compiler.program import Program


def check_fits(source: PixelSource, program: Program) -> None:
    """Raises `UserError` for a shipped source that was made for other images or another head than the program's."""
    _Fitting(source, program).check()


class _Fitting:
    def __init__(self, source: PixelSource, program: Program) -> None:
        self.source = source
        self.levels = program.network.image.levels
        self.parameters = program.output.values.shape[1]
        self.images = tuple(program.image.shape)
        """(places, images, channels)"""

    def check(self) -> None:
        source = self.source
        if isinstance(source, ForceSource):
            _expect("images", tuple(source.image.shape), self.images)
            self.tensor("images", source.image, self.images, most=self.levels - 1)
        elif isinstance(source, DrawSource):
            self.draw(source)

    def draw(self, source: DrawSource) -> None:
        _expect("levels", source.levels, self.levels)
        places, count, channels = self.images
        head = source.head
        assert isinstance(head, LogisticMixtureHead | SoftmaxHead)
        _expect("images", (*source.uniforms.shape[:2], head.channels), self.images)
        if isinstance(head, SoftmaxHead):
            parameters, noise = channels * source.levels, channels
        else:
            # The library computes these from the number of components, whatever the head says.
            parameters = head.components * (1 + 2 * channels + channels * (channels - 1) // 2)
            noise = 1 + channels if source.walk is None else 2 * channels
        _expect("parameters of a pixel", parameters, self.parameters)
        self.tensor("noise", source.uniforms, (places, count, noise), torch.float64)
        if source.limits is not None:
            self.limits(source.limits)
        if isinstance(source.walk, SumWalk):
            self.walk(source.walk)

    def limits(self, limits: Interval) -> None:
        for values in (limits.low, limits.high):
            self.tensor("limits", values, self.images, most=self.levels - 1)
        if bool((limits.low > limits.high).any()):
            _expect("limits", "low > high", "low ≤ high")

    def walk(self, walk: SumWalk) -> None:
        places, count, channels = self.images
        groups, of_pixels = len(walk.lowest), (channels, places)
        for sums in (walk.lowest, walk.highest):
            self.tensor("sums", sums, (groups, count))
        self.tensor("groups of sums", walk.groups, of_pixels, most=groups - 1)
        self.tensor("weights in sums", walk.weights, of_pixels, least=1)
        later_images = 1 if walk.least.shape[-1] == 1 else count
        for sums in (walk.least, walk.most):
            self.tensor("sums of later pixels", sums, (*of_pixels, later_images))

    def tensor(
        self,
        what: str,
        values: Tensor,
        shape: Sequence[int],
        dtype: torch.dtype = torch.int64,
        *,
        least: int = 0,
        most: int | None = None,
    ) -> None:
        """Checks shape and type, and the range of values where an end of it is given."""
        found = values.dtype, tuple(values.shape), values.device.type
        _expect(what, found, (dtype, tuple(shape), "cpu"))
        if (most is None and not least) or not values.numel():
            return
        low, high = map(int, values.aminmax())
        if low < least or (most is not None and high > most):
            _expect(what, f"{low} … {high}", f"{least} …" if most is None else f"{least} … {most}")


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise UserError(f"the source does not fit the network: expected {what} of {expected}, got {found}")
