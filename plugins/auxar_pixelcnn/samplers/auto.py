"""The fastest exact sampler that a network allows."""

from __future__ import annotations

import logging

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
    """Chooses for each network, and says so when only the raster sampler works."""

    def sample(self, network: CausalNetwork, features: Tensor | None, draws: Draws) -> Tensor:
        try:
            make_schedule(network)
        except NoScheduleError as error:
            logger.info("sampling pixel by pixel with the raster sampler: %s", error)
            return RasterSampler().sample(network, features, draws)
        return WavefrontSampler().sample(network, features, draws)
