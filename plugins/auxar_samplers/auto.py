"""The sampler `auto`, which uses the fastest sampler that supports a network."""

import weakref
from typing import Any

import attrs
from torch import Tensor

from auxar import CausalNetwork, PixelSource, Sampler, StepwiseNetwork, UserError
from auxar_samplers.engines.base import logger
from auxar_samplers.engines.choice import EngineChoice
from auxar_samplers.program_sampler import CachedSampler, WavefrontSampler
from auxar_samplers.raster import RasterSampler, StepwiseSampler


@attrs.frozen
class AutoConfig:
    """Uses the first of `wavefront`, `cached`, `stepwise` and `raster` that supports the network.

    Except for rounding, all of them draw the same images.
    """

    engine: EngineChoice = attrs.field(factory=EngineChoice)
    """The engine that runs the programs of `wavefront` and `cached`. The engine name `auto` selects the engine of
    highest priority that supports the program."""


class AutoSampler(Sampler):
    """Chooses a sampler once for each network. If only the raster sampler supports the network, logs the reason."""

    def __init__(self, engine: EngineChoice | str = "auto") -> None:
        self._fast: tuple[Sampler, ...] = (WavefrontSampler(engine), CachedSampler(engine))
        self._chosen: weakref.WeakKeyDictionary[CausalNetwork, Sampler] = weakref.WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        # Weak references cannot be pickled, so a copy chooses again.
        return {**self.__dict__, "_chosen": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _chosen=weakref.WeakKeyDictionary())

    def sample(self, network: CausalNetwork, features: Tensor | None, source: PixelSource) -> Tensor:
        return self._sampler(network).sample(network, features, source)

    def lag(self, network: CausalNetwork, reach: int = 0) -> int:
        return self._sampler(network).lag(network, reach)

    def _sampler(self, network: CausalNetwork) -> Sampler:
        if network not in self._chosen:
            self._chosen[network] = self._choose(network)
        return self._chosen[network]

    def _choose(self, network: CausalNetwork) -> Sampler:
        for sampler in self._fast:
            try:
                sampler.check(network)
            except UserError as error:
                reason = error
            else:
                return sampler
        if isinstance(network, StepwiseNetwork):
            return StepwiseSampler()
        logger.info("sampling with the slow raster sampler, because no faster sampler supports the network: %s", reason)
        return RasterSampler()
