"""Samplers walk a causal network over the pixels; a pixel source says what each pixel becomes."""

from __future__ import annotations

import abc

from torch import Tensor

from auxar.interfaces.network import CausalNetwork


class PixelSource(abc.ABC):
    """Gives each pixel its value, from the parameters that a network predicts for it.

    Drawing and forcing a given image are sources (`auxar.sources`), and so is anything else that derives from this
    class; every sampler works with any of them. Engines call a source at each step, or run it themselves where they
    have a form of their own for exactly its class.
    """

    count: int
    """Number of images."""
    reach: int = 0
    """How far to the right a pixel depends on rows above: before a pixel in column c is asked for, all pixels of the
    rows above up to column c + reach have been asked for."""
    takes_outside: bool = False
    """Whether `pixels` also takes the place height · width, "outside of the image", and gives any value there: engines
    then call it with the same number of places at every step, without sorting out those that stand for no pixel."""

    @abc.abstractmethod
    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        """The pixels at some places of all images: integers, int64, shape (n, count, c).

        Called once for every place, in an order in which all pixels above and to the left come before, and rows above
        as far to the right as `reach`.

        Args:
            places: Numbers row · width + column, int64, shape (n,).
            parameters: Predictions for these pixels, shape (n · count, head.parameter_count): place by place, and
                within a place image by image.
        """


class Sampler(abc.ABC):
    """Walks a causal network over the pixels; each pixel is fed back to the network as its source gives it."""

    @abc.abstractmethod
    def sample(self, network: CausalNetwork, features: Tensor | None, source: PixelSource) -> Tensor:
        """The images that the source's pixels make: int64, shape (source.count, *network.image.shape).

        `features` has shape (source.count, network.features_channels, h, w), or is None for a network without.
        """

    def check(self, network: CausalNetwork) -> None:  # noqa: B027 (most samplers take every network)
        """Raises `UserError` for a network that this sampler cannot work with."""
