"""The fastest exact sampler that a network allows."""

from __future__ import annotations

import logging
import weakref

import attrs
from torch import Tensor

from auxar.interfaces import CausalNetwork, Draws, Sampler
from auxar_pixelcnn.samplers.raster import RasterSampler
from auxar_pixelcnn.samplers.schedule import NoScheduleError, make_schedule
from auxar_pixelcnn.samplers.wavefront import WavefrontSampler

logger = logging.getLogger("auxar")


@attrs.frozen
class AutoConfig:
    """The fastest exact sampler for each network: the wavefront where it works, else the raster sampler."""


class AutoSampler(Sampler):
    """Chooses for each network once, and says so when only the raster sampler works."""

    def __init__(self) -> None:
        self._chosen: weakref.WeakKeyDictionary[CausalNetwork, Sampler] = weakref.WeakKeyDictionary()

    def sample(self, network: CausalNetwork, features: Tensor | None, draws: Draws) -> Tensor:
        if network not in self._chosen:
            self._chosen[network] = self._choose(network)
        return self._chosen[network].sample(network, features, draws)

    @staticmethod
    def _choose(network: CausalNetwork) -> Sampler:
        try:
            make_schedule(network)
        except NoScheduleError as error:
            logger.info("sampling pixel by pixel with the raster sampler: %s", error)
            return RasterSampler()
        return WavefrontSampler()
