"""Entropy coding of the images of one factor, given their views: one stream of bytes for each image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.model.bands import Band, bands_of
from auxar.model.factor import Factor
from auxar.model.integers import IntegerHead
from auxar.model.network import device_of
from auxar.model.sources import DecodeSource, Sampler, coding_order, walk_for
from auxar.model.values import Values
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
        >>> values, lag = model.chain.values(model.sample(2).tensor), coder.lag()
        >>> streams = coder.encode(values, lag)
        >>> torch.equal(coder.decode(streams, Values(count=2), lag), values["view2"])
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
        walk = walk_for(self.network, self.factor.given_view(view), 1)
        return self.sampler.lag(self.network, 0 if walk is None else walk.reach)

    @torch.no_grad()
    def encode(self, values: Values, lag: int) -> list[bytes]:
        """Encodes images, given their views and conditions: a stream of bytes for each image.

        `values` has integers (b, *factor.image.shape) of the factor's variable, and the variables that the factor is
        given. Raises `UserError` if a value lies outside of its interval, because the support of the view is wrong.
        """
        values = values | {self.factor.variable: self.factor.target(values).to(torch.int64)}
        ranges = []
        for band in steps(self.bands, f"encoding {self.factor.name}", "band"):
            with one_if_busy():
                ranges.append(self._ranges(band, values, lag))
        # For the only possible value, nothing is coded.
        images = (torch.cat([band[:, row] for band in ranges], dim=1) for row in range(len(values)))
        return [self.head.stream(image[:, image[1] != TOTAL]) for image in images]

    @torch.no_grad()
    def decode(self, streams: Sequence[bytes], given: Values, lag: int) -> Tensor:
        """Decodes an image from each stream, given its view and condition: int64, (b, *factor.image.shape).

        Raises `UserError` if the sampler cannot draw pixels in the order of the lag.
        """
        decoders = RangeDecoders(streams)
        shape = len(streams), *self.factor.image.shape
        image = torch.empty(shape, dtype=torch.int64, device=device_of(self.network))
        for band in steps(self.bands, f"decoding {self.factor.name}", "band"):
            assert band.factor.network is not None
            with one_if_busy():
                conditional = band.given(given)
            source = DecodeSource(
                self.head,
                band.factor.image,
                decoders,
                lag,
                walk_for(band.factor.network, conditional.support, len(streams)),
                known=image[:, :, band.first : band.start],
                restricted=self.factor.restricted,
            )
            image[:, :, band.first : band.stop] = self.sampler.sample(band.factor.network, conditional.features, source)
        return image

    def _ranges(self, band: Band, values: Values, lag: int) -> Tensor:
        """The starts and the frequencies of a band's values in the order of coding: int64, (2, b, values)."""
        image = values[self.factor.variable][:, :, band.first : band.stop]
        ranges = torch.stack(band.given(values).coding_ranges(image))
        order = coding_order(band.factor.image, lag)
        order = order[order >= (band.start - band.first) * self.factor.image.width]
        ranges = ranges.permute(0, 1, 3, 4, 2).flatten(2, 3)[:, :, order].flatten(2)
        start, frequency = ranges
        if bool(((start < 0) | (frequency < 1) | (start + frequency > TOTAL)).any()):
            raise UserError(f"factor {self.factor.name}: an image has no probability, so its support or head is wrong")
        return ranges
