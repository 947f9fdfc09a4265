"""Entropy coding of the images of one factor, given their views: one stream of bytes for each image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.model.bands import Band, bands_of
from auxar.model.distribution import CausalDistribution
from auxar.model.factor import Factor
from auxar.model.integers import IntegerHead
from auxar.model.network import device_of
from auxar.model.sources import DecodeSource, Sampler, coding_order, walk_for
from auxar.numerics.range_coder import TOTAL, RangeDecoders
from auxar.numerics.threads import one_if_busy
from auxar.progress import steps


class FactorCoder:
    """Encodes the images of a factor in integers to bytes, and decodes them.

    An image takes about -log₂ p bits, given its view and its condition. The plugin `auxar_codec` describes the streams.
    Both directions need the same `lag`: the number of columns by which each row is coded behind the row above.
    `sampler` draws the pixels when they are decoded. Images are coded in bands of rows (`auxar.model.bands`), one after
    another, so the values inside of networks take memory for one band alone.

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
        self.bands = bands_of(factor)

    def lag(self) -> int:
        """The smallest lag with which the sampler decodes images. It is derived from the network."""
        spec = self.factor.view_spec
        view = None if spec is None else torch.zeros((1, *spec.shape), dtype=torch.int64)
        walk = walk_for(self.network, self.factor.given(view), 1)
        return self.sampler.lag(self.network, 0 if walk is None else walk.reach)

    @torch.no_grad()
    def encode(self, image: Tensor, view: Tensor | None, lag: int, condition: Tensor | None = None) -> list[bytes]:
        """Encodes images, integers (b, *factor.image.shape), given their views and conditions: a stream for each image.

        Raises `UserError` if a value lies outside of its interval, because the support of the view is wrong.
        """
        image = image.to(torch.int64)
        bands = steps(self.bands, f"encoding {self.factor.name}", "band")
        found = []
        for band in bands:
            with one_if_busy():
                found.append(self._ranges(band, image, view, lag, condition))
        # For the only possible value, nothing is coded.
        images = (torch.cat([band[:, row] for band in found], dim=1) for row in range(len(image)))
        return [self.head.stream(ranges[:, ranges[1] != TOTAL]) for ranges in images]

    @torch.no_grad()
    def decode(
        self, streams: Sequence[bytes], view: Tensor | None, lag: int, condition: Tensor | None = None
    ) -> Tensor:
        """Decodes an image from each stream, given its view and condition: int64, (b, *factor.image.shape).

        Raises `UserError` if the sampler cannot draw pixels in the order of the lag.
        """
        decoders = RangeDecoders(streams)
        shape = len(streams), *self.factor.image.shape
        image = torch.empty(shape, dtype=torch.int64, device=device_of(self.network))
        for band in steps(self.bands, f"decoding {self.factor.name}", "band"):
            assert band.factor.network is not None
            with one_if_busy():
                features = band.features(len(streams), view, condition)
            given = band.given(None if view is None else view.to(torch.int64))
            source = DecodeSource(
                self.head,
                band.factor.image,
                decoders,
                lag,
                walk_for(band.factor.network, given, len(streams)),
                known=image[:, :, band.first : band.start],
                restricted=self.factor.restricted,
            )
            image[:, :, band.first : band.stop] = self.sampler.sample(band.factor.network, features, source)
        return image

    def _ranges(self, band: Band, image: Tensor, view: Tensor | None, lag: int, condition: Tensor | None) -> Tensor:
        """The starts and the frequencies of a band's values in the order of coding: int64, (2, b, values)."""
        own = image[:, :, band.first : band.stop]
        given, features = band.given(view), band.features(len(image), view, condition)
        assert isinstance(band.factor.distribution, CausalDistribution)
        found = torch.stack(band.factor.distribution.coding_ranges(own, features, given))
        order = coding_order(band.factor.image, lag)
        order = order[order >= (band.start - band.first) * self.factor.image.width]
        found = found.permute(0, 1, 3, 4, 2).flatten(2, 3)[:, :, order].flatten(2)
        start, frequency = found
        if bool(((start < 0) | (frequency < 1) | (start + frequency > TOTAL)).any()):
            raise UserError(f"factor {self.factor.name}: an image has no probability, so its support or head is wrong")
        return found
