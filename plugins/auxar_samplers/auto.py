"""The fastest exact sampler that a network allows."""

from __future__ import annotations

import logging
import weakref

import attrs
from torch import Tensor

from auxar import CausalNetwork, PixelSource, Sampler, UserError
from auxar_samplers.cached import CachedSampler
from auxar_samplers.engines.choice import EngineChoice
from auxar_samplers.raster import RasterSampler
from auxar_samplers.wavefront import WavefrontSampler

logger = logging.getLogger("auxar")


@attrs.frozen
class AutoConfig:
    """The fastest exact sampler for each network: wavefront or cached where they work, else raster."""

    engine: EngineChoice = attrs.field(factory=EngineChoice)
    """The engine that runs their programs, by its name, or auto: the first that can, by priority."""


class AutoSampler(Sampler):
    """Chooses for each network once, and says so when only the raster sampler works."""

    def __init__(self, engine: EngineChoice | str = "auto") -> None:
        self._fast: tuple[Sampler, ...] = (WavefrontSampler(engine), CachedSampler(engine))
        self._chosen: weakref.WeakKeyDictionary[CausalNetwork, Sampler] = weakref.WeakKeyDictionary()

    def sample(self, network: CausalNetwork, features: Tensor | None, source: PixelSource) -> Tensor:
        if network not in self._chosen:
            self._chosen[network] = self._choose(network)
        return self._chosen[network].sample(network, features, source)

    def _choose(self, network: CausalNetwork) -> Sampler:
        for sampler in self._fast:
            try:
                sampler.check(network)
            except UserError as error:
                reason = error
            else:
                return sampler
        logger.info("sampling pixel by pixel with the raster sampler: %s", reason)
        return RasterSampler()
