"""Samplers, and pixel sources: `DrawSource` draws pixels, `ForceSource` copies images, `DecodeSource` decodes bytes."""

from __future__ import annotations

import abc

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.model.centers import NeighborWalk, moved_to_centers
from auxar.model.head import Head, RestrictableHead
from auxar.model.image import ImageSpec, Interval, Known
from auxar.model.integers import IntegerHead, find_value
from auxar.model.network import CausalNetwork, device_of
from auxar.model.request import SampleRequest
from auxar.model.rule import EXACT, Adjustments, Operation, refused_by_integers
from auxar.model.support import DrawnPixels, GivenView, Walk
from auxar.numerics.range_coder import RangeDecoders


class PixelSource(abc.ABC):
    """Decides the value of each pixel, given the parameters that a network predicts for it.

    `DrawSource` draws pixels, `ForceSource` returns the pixels of given images, and `DecodeSource` decodes bytes. Every
    sampler works with these and with other subclasses, except that it may refuse a `lag`. An engine calls the source at
    each step, unless it has its own implementation of the source's exact class.
    """

    count: int
    """Number of images."""
    reach: int = 0
    """Number of columns to the right, in the rows above, that a pixel depends on. Before a sampler asks for a pixel in
    column c, it asks for all pixels of the rows above up to column c + reach."""
    lag: int | None = None
    """The number of columns by which each row runs behind the row above, if a sampler has to ask for pixels in order of
    row · lag + column. It may ask for pixels for which this number is the same at once. With None, every order is
    allowed that the rules of `pixels` allow."""
    takes_outside: bool = False
    """Whether `pixels` also accepts the place height · width, which stands for "outside of the image", and returns any
    value there. An engine can then pass the same number of places at every step, so that all steps have the same tensor
    shapes."""
    in_place: bool = False
    """Whether `pixels` changes the source's state only by operations in place, and never reads a tensor's values on the
    host. An engine can then record the operations of a step on a GPU once, and repeat them without calling `pixels`."""

    @abc.abstractmethod
    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        """Decides the pixels at the given places of all images: int64, shape (n, count, c).

        A sampler asks once for every place in the image. Before that, it has asked for all pixels to the left of the
        place, and for all pixels of the rows above up to `reach` columns to its right.

        Args:
            places: Indices row · width + column of the pixels, int64, shape (n,).
            parameters: Predicted parameters of these pixels, shape (n · count, head.parameter_count), ordered by place
                and then by image.
        """


class Sampler(abc.ABC):
    """Runs a causal network pixel by pixel. A pixel source decides each pixel, which is fed back to the network."""

    @abc.abstractmethod
    def sample(self, network: CausalNetwork, features: Tensor | None, source: PixelSource) -> Tensor:
        """Asks the source for every pixel and returns the images: int64, shape (source.count, *network.image.shape).

        `features` has shape (source.count, network.features_channels, h, w). It is None for a network without
        conditioning. Raises `UserError` if this sampler does not support the network, or the order that the source
        needs.
        """

    def lag(self, network: CausalNetwork, reach: int = 0) -> int:
        """The smallest `PixelSource.lag` with which this sampler can draw, for a source with the given `reach`.

        The default is the width of the image, with which pixels are drawn in raster order, as every sampler can. A
        sampler raises `UserError` if it has to examine the network and does not support it.
        """
        return network.image.width

    def check(self, network: CausalNetwork) -> None:  # noqa: B027 (most samplers take every network)
        """Raises `UserError` if this sampler does not support the network. The default accepts every network."""


def by_place(values: Tensor) -> Tensor:
    """Converts (b, c, h, w) to (h · w + 1, b, c), indexed by place: row · width + column.

    The last entry, which is zero, stands for the place outside of the image.
    """
    rows = values.permute(2, 3, 0, 1).flatten(0, 1)
    return torch.cat([rows, rows.new_zeros((1, *rows.shape[1:]))])


@attrs.define(eq=False, slots=False)
class DrawSource(PixelSource):
    """A pixel source that draws pixels from a head's distribution. `DrawSource.of` creates it from a request.

    Known pixels are returned unchanged. The other pixels respect the limits and, if the source is restricted, the
    intervals of the walk. The first dimension of tensors is the place, row · width + column; its last entry stands for
    the place outside of the image.
    """

    head: Head
    """The likelihood head."""
    levels: int
    """Number of values that a sub-pixel can take."""
    adjustments: Adjustments
    """The adjustments of distributions."""
    uniforms: Tensor
    """Uniform noise in (0, 1): float64, shape (h · w + 1, b, n), where drawing one pixel uses n numbers."""
    limits: Interval | None = None
    """Lowest and highest allowed values, int64, (h · w + 1, b, c) each. For a known pixel, both are its value. None
    allows all values."""
    walk: Walk | None = None
    """The walk that gives intervals and centers; None if neither is needed."""
    operation: Operation | None = None
    """The operation of the rule on parameters; None if it has none."""
    restricted: bool = attrs.field(default=False, kw_only=True)
    """Whether pixels are restricted to the intervals of the walk."""
    takes_outside = True

    def __attrs_post_init__(self) -> None:
        self.count = self.uniforms.shape[1]
        self.reach = 0 if self.walk is None else self.walk.reach
        self.in_place = self.walk is None or self.walk.in_place

    @classmethod
    def of(cls, network: CausalNetwork, request: SampleRequest) -> DrawSource:
        """Creates the source for a network and a request, with tensors on the network's device.

        Raises `UserError` if the known pixels do not match the network's image, or if the request is restricted and the
        network's head cannot be restricted.
        """
        head, image, known = network.head, network.image, request.known
        device = next(network.parameters()).device
        limits = None
        if known is not None:
            known.check(image, len(request.numbers))
            ends = (known.lowest(), known.highest(image.levels))
            limits = Interval(*(by_place(values.to(device, torch.int64)) for values in ends))
        restricted = request.given is not None and request.given.restricted
        noise = restrictable(head).restricted_uniform_count if restricted else head.uniform_count
        uniforms = by_place(request.uniforms((noise, image.height, image.width), device))
        adjustments, operation = request.rule.adjustments(request.depth), request.rule.operation(request.depth)
        if isinstance(head, IntegerHead) and (operation is not None or request.guidance is not None):
            raise UserError(refused_by_integers(request.rule))
        walk = walk_for(network, request.given, len(request.numbers), known)
        return cls(head, image.levels, adjustments, uniforms, limits, walk, operation, restricted=restricted)

    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        noise = self.uniforms.index_select(0, places)
        limits = self.limits
        parameters = moved_to_centers(self.head, self.walk, places, parameters)
        if self.operation is not None:
            parameters = self.operation(self.head, parameters)
        if self.walk is None or not self.restricted:
            drawn = self.head.draw(parameters, noise.flatten(0, 1), self.adjustments).view(*noise.shape[:2], -1)
            if limits is not None:
                drawn = drawn.clamp(limits.low[places], limits.high[places])
            if self.walk is not None:
                for channel in range(drawn.shape[2]):
                    self.walk.take(places, channel, drawn[..., channel])
            return drawn
        if limits is not None:
            limits = Interval(limits.low[places].flatten(0, 1), limits.high[places].flatten(0, 1))
        pixels = DrawnPixels(self.walk, self.levels, places, limits)
        head = restrictable(self.head)
        return head.draw_restricted(parameters, noise.flatten(0, 1), self.adjustments, pixels).view(
            *noise.shape[:2], -1
        )


def restrictable(head: Head) -> RestrictableHead:
    """Returns the head. Raises `UserError` if it cannot be restricted to intervals of values."""
    if not isinstance(head, RestrictableHead):
        raise UserError(
            f"the head {type(head).__name__} cannot be restricted to intervals of values; use a RestrictableHead"
        )
    return head


def walk_for(network: CausalNetwork, given: GivenView | None, count: int, known: Known | None = None) -> Walk | None:
    """A new walk for drawing `count` images; None if neither intervals nor centers are needed.

    Raises `UserError` if the support gives centers that the walk does not give.
    """
    head = network.head
    walk = None
    centers = given is not None and head.centered and given.has_centers
    if given is not None and (given.restricted or centers):
        walk = given.walk(known)
        if centers and type(walk).centers is Walk.centers:
            raise UserError(
                f"{type(given.support).__name__} gives centers, but its walk {type(walk).__name__} does not; define "
                "its method `centers`"
            )
    if head.centered and (given is None or head.neighbors):
        return NeighborWalk(network.image, count, device_of(network), walk, append=head.neighbors)
    return walk


class ForceSource(PixelSource):
    """A pixel source that returns the pixels of given images. A sampler then computes the predictions for these images.

    Args:
        image: The images, integers (b, *spec.shape) in [0, levels).
        spec: Shape and range of the images.

    Raises `UserError` if dtype, shape or range of `image` does not match `spec`.
    """

    takes_outside = True
    in_place = True

    def __init__(self, image: Tensor, spec: ImageSpec) -> None:
        spec.check(image)
        spec.check_range(image)
        self.count = len(image)
        self.image = by_place(image.to(torch.int64))
        """The images by place (see `by_place`): int64, shape (h · w + 1, b, c)."""

    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        return self.image.index_select(0, places)


def coding_order(image: ImageSpec, lag: int) -> Tensor:
    """The places of all pixels, row · width + column, in the order in which they are coded: int64, (h · w,).

    The pixel at row r and column c is coded at time r · lag + c, and of pixels with the same time, that of the upper
    row comes first.

    Examples:
        >>> coding_order(ImageSpec(height=2, width=3), lag=3).tolist()
        [0, 1, 2, 3, 4, 5]
        >>> coding_order(ImageSpec(height=2, width=3), lag=2).tolist()
        [0, 1, 2, 3, 4, 5]
        >>> coding_order(ImageSpec(height=2, width=3), lag=1).tolist()
        [0, 1, 3, 2, 4, 5]
    """
    # The default device of tensors may be another one.
    rows, columns = (torch.arange(side, device="cpu") for side in (image.height, image.width))
    # Sorting is stable, so that places with the same time stay in raster order.
    return (rows[:, None] * lag + columns).flatten().argsort(stable=True)


class DecodeSource(PixelSource):
    """A pixel source that decodes pixels from streams of a range coder, one stream for each image.

    `lag` is the lag with which the pixels were coded. `walk` gives the centers of the pixels and, if they are
    `restricted`, their intervals. `known` has the pixels of the first rows, integers (count, c, rows, w), which are not
    decoded. If a sampler asks for pixels in another order, `UserError` is raised.
    """

    def __init__(
        self,
        head: IntegerHead,
        image: ImageSpec,
        decoders: RangeDecoders,
        lag: int,
        walk: Walk | None = None,
        *,
        known: Tensor,
        restricted: bool = False,
    ) -> None:
        self.head = head
        self.image = image
        self.decoders = decoders
        self.walk = walk
        self.known = known.permute(2, 3, 0, 1).flatten(0, 1).cpu().contiguous()
        """The known pixels by place: int64, (rows · w, count, c)."""
        self.restricted = restricted
        self.count = len(decoders.code)
        self.lag = lag
        self.reach = 0 if walk is None else walk.reach
        self.order = coding_order(image, lag)
        """The places of all pixels in the order in which they are decoded: int64, (h · w,)."""
        self._done = 0

    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        found = torch.empty((len(places), self.count, self.image.channels), dtype=torch.int64, device="cpu")
        sorted_, order = places.cpu().sort()
        expected = self.order[self._done : self._done + len(places)]
        if not torch.equal(sorted_, expected):
            raise UserError(
                f"the sampler asks for pixels in another order than that of the file, which has a lag of {self.lag}"
            )
        self._done += len(places)
        for number in order.tolist():
            place = places[number : number + 1].cpu()
            if int(place) < len(self.known):
                found[number] = self._known_pixel(place)
            else:
                found[number] = self._pixel(place, parameters[number * self.count : (number + 1) * self.count].cpu())
        return found.to(places.device)

    def _known_pixel(self, place: Tensor) -> Tensor:
        values = self.known[place]
        if self.walk is not None:
            for channel in range(self.image.channels):
                self.walk.take(place, channel, values[..., channel])
        return values[0]

    def _pixel(self, place: Tensor, parameters: Tensor) -> Tensor:
        """Decodes the pixel at one place of all images: int64, (count, c)."""
        frequencies = self.head.frequencies(moved_to_centers(self.head, self.walk, place, parameters), EXACT)
        pixels = None if self.walk is None else DrawnPixels(self.walk, self.image.levels, place)
        low = torch.zeros(self.count, dtype=torch.int64, device="cpu")
        high = torch.full_like(low, self.image.levels - 1)
        decoded = []
        for channel in range(self.image.channels):
            if self.restricted and pixels is not None:
                interval = pixels.interval(channel)
                low, high = interval.low, interval.high
            chosen = (low < high).nonzero().squeeze(1).numpy()
            targets = torch.zeros_like(low)
            targets[chosen] = torch.from_numpy(self.decoders.targets(chosen))
            value = find_value(frequencies, targets, low, high)
            start, end = frequencies.below(torch.stack([value, value + 1], dim=1), low, high).numpy().T
            self.decoders.take(chosen, start[chosen], np.maximum(1, end - start)[chosen])
            frequencies.take(value)
            if pixels is not None:
                pixels.take(channel, value)
            decoded.append(value)
        return torch.stack(decoded, dim=1)
