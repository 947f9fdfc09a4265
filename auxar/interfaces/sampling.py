"""The interfaces of samplers, which evaluate a causal network pixel by pixel, and of pixel sources."""

from __future__ import annotations

import abc

from torch import Tensor

from auxar.interfaces.network import CausalNetwork


class PixelSource(abc.ABC):
    """Decides the value of each pixel, given the parameters that a network predicts for it.

    `auxar.sources` has sources that draw pixels, return the pixels of given images, or decode bytes. Every sampler
    works with these and with other subclasses, except that it may refuse a `lag`. An engine calls the source at each
    step, unless it has its own implementation of the source's exact class.
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
