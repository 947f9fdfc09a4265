"""Samplers, which draw images from a causal network pixel by pixel."""

from __future__ import annotations

import abc

from torch import Tensor

from auxar.interfaces.known import Known
from auxar.interfaces.network import CausalNetwork
from auxar.interfaces.request import Draws
from auxar.interfaces.support import Walk


class Sampler(abc.ABC):
    """Draws images from a causal network, pixel after pixel, each an integer in range before it is fed back."""

    restricts: bool = False
    """Whether `sample` takes a walk: others are not given one."""

    @abc.abstractmethod
    def sample(
        self,
        network: CausalNetwork,
        features: Tensor | None,
        draws: Draws,
        known: Known | None = None,
        walk: Walk | None = None,
    ) -> Tensor:
        """Integers, int64, shape (len(draws.indices), *network.image.shape). Known pixels are not drawn but taken.

        Along a walk, every channel is drawn by the network's `RestrictableHead` from what the walk leaves possible.
        """

    def check(self, network: CausalNetwork) -> None:  # noqa: B027 (most samplers take every network)
        """Raises `UserError` for a network that this sampler cannot draw from; nothing unless it is choosy."""
