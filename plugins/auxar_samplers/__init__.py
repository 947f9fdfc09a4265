"""Samplers of causal networks: `wavefront`, `cached`, `stepwise`, `raster`, and `auto`, which chooses one of these."""

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_samplers.auto import AutoConfig as AutoConfig
from auxar_samplers.auto import AutoSampler as AutoSampler
from auxar_samplers.engines.choice import AUTO, SHIPPED, AutoEngineConfig
from auxar_samplers.program_sampler import CachedConfig as CachedConfig
from auxar_samplers.program_sampler import CachedSampler as CachedSampler
from auxar_samplers.program_sampler import WavefrontConfig as WavefrontConfig
from auxar_samplers.program_sampler import WavefrontSampler as WavefrontSampler
from auxar_samplers.raster import RasterConfig as RasterConfig
from auxar_samplers.raster import RasterSampler as RasterSampler
from auxar_samplers.raster import StepwiseConfig as StepwiseConfig
from auxar_samplers.raster import StepwiseSampler as StepwiseSampler

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Returns the samplers, of which `auto` comes first, and the engines `auto`, `native` and `torch`."""
    return [
        Component("sampler", "auto", AutoConfig, lambda config: AutoSampler(config.engine)),
        Component("sampler", "wavefront", WavefrontConfig, lambda config: WavefrontSampler(config.engine)),
        Component("sampler", "cached", CachedConfig, lambda config: CachedSampler(config.engine)),
        Component("sampler", "stepwise", StepwiseConfig, lambda config: StepwiseSampler()),
        Component("sampler", "raster", RasterConfig, lambda config: RasterSampler()),
        Component("engine", AUTO, AutoEngineConfig),
        *SHIPPED.values(),
    ]
