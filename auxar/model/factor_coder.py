"""Entropy coding of the images of one factor, given their views: one stream of bytes for each image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.model.distribution import CausalDistribution
from auxar.model.factor import Factor
from auxar.model.integers import IntegerHead
from auxar.model.sources import DecodeSource, Sampler, coding_order, walk_for
from auxar.model.support import Walk
from auxar.numerics.range_coder import TOTAL, encode


class FactorCoder:
    """Encodes the images of a factor in integers to bytes, and decodes them.

    An image takes about -log₂ p bits, given its view and its condition. The plugin `auxar_codec` describes the streams.
    Both directions need the same `lag`: the number of columns by which each row is coded behind the row above.
    `sampler` draws the pixels when they are decoded.

    Raises `UserError` if the factor has no integer frequencies.

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> model = auxar.load("runs/quickstart", "cpu", arithmetic="integer")
        >>> coder = FactorCoder(model.factors[-1], model.chain.sampler)
        >>> image, lag = model.views(model.sample(2))[-1].tensor, coder.lag()
        >>> streams = coder.encode(image, None, lag)
        >>> torch.equal(coder.decode(streams, None, lag), image)
        True
    """

    def __init__(self, factor: Factor, sampler: Sampler) -> None:
        network = factor.network
        if network is None or not isinstance(network.head, IntegerHead):
            raise UserError(
                f"factor {factor.name} has no integer frequencies, which coding needs; convert the run with "
                "`auxar integers RUN`"
            )
        self.factor = factor
        self.sampler = sampler
        self.network = network
        self.head = network.head

    def lag(self) -> int:
        """The smallest lag with which the sampler decodes images. It is derived from the network."""
        walk = self._walk(None if self.factor.view_spec is None else torch.zeros((1, *self.factor.view_spec.shape)), 1)
        return self.sampler.lag(self.network, 0 if walk is None else walk.reach)

    @torch.no_grad()
    def encode(self, image: Tensor, view: Tensor | None, lag: int, condition: Tensor | None = None) -> list[bytes]:
        """Encodes images, integers (b, *factor.image.shape), given their views and conditions: a stream for each image.

        Raises `UserError` if a value lies outside of its interval, because the support of the view is wrong.
        """
        order = coding_order(self.factor.image, lag)
        found = self._ranges(image.to(torch.int64), view, condition)
        if found[1].numel() and int(found[1].min()) < 1:
            raise UserError(f"factor {self.factor.name}: an image has no probability, so its support or head is wrong")
        starts, frequencies = (
            values.permute(0, 2, 3, 1).flatten(1, 2)[:, order].flatten(1).tolist() for values in found
        )
        # A frequency of TOTAL stands for the only possible value, for which nothing is coded.
        return [
            encode((start, frequency) for start, frequency in zip(*ranges, strict=True) if frequency != TOTAL)
            for ranges in zip(starts, frequencies, strict=True)
        ]

    @torch.no_grad()
    def decode(
        self, streams: Sequence[bytes], view: Tensor | None, lag: int, condition: Tensor | None = None
    ) -> Tensor:
        """Decodes an image from each stream, given its view and condition: int64, (b, *factor.image.shape).

        Raises `UserError` if the sampler cannot draw pixels in the order of the lag.
        """
        features = self.factor.features(len(streams), view, condition)
        walk = self._walk(view, len(streams))
        source = DecodeSource(self.head, self.factor.image, streams, lag, walk, restricted=self.factor.restricted)
        return self.sampler.sample(self.network, features, source)

    def _ranges(self, image: Tensor, view: Tensor | None, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        assert isinstance(self.factor.distribution, CausalDistribution)
        given = self.factor.given(view)
        features = self.factor.features(len(image), view, condition)
        parameters = self.factor.distribution.parameters_of(image, features, given)
        interval = given.interval(image) if given is not None and given.restricted else None
        return self.head.coding_ranges(parameters, image, interval)

    def _walk(self, view: Tensor | None, count: int) -> Walk | None:
        return walk_for(self.network, self.factor.given(None if view is None else view.to(torch.int64)), count)
