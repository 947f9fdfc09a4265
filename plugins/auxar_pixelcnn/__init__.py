"""PixelCNN++ priors, decoders and embeddings, and the samplers that draw from them."""

from __future__ import annotations

from collections.abc import Sequence

from auxar.plugins import Component, hookimpl
from auxar_pixelcnn import components
from auxar_pixelcnn.samplers import (
    AutoConfig,
    AutoSampler,
    CachedConfig,
    CachedSampler,
    RasterConfig,
    RasterSampler,
    WavefrontConfig,
    WavefrontSampler,
)


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Priors and decoders `pixelcnn` (light) and `pixelcnn++` (full), embedding `resnet`, and the samplers."""
    return [
        Component("prior", "pixelcnn", components.LightConfig, components.light_prior),
        Component("prior", "pixelcnn++", components.FullConfig, components.full_prior),
        Component("embedding", "resnet", components.EmbeddingConfig, components.embedding),
        Component("decoder", "pixelcnn", components.LightConfig, components.light_decoder),
        Component("decoder", "pixelcnn++", components.FullConfig, components.full_decoder),
        Component("sampler", "auto", AutoConfig, lambda config: AutoSampler(config.engine)),
        Component("sampler", "wavefront", WavefrontConfig, lambda config: WavefrontSampler(config.engine)),
        Component("sampler", "cached", CachedConfig, lambda config: CachedSampler(config.engine)),
        Component("sampler", "raster", RasterConfig, lambda config: RasterSampler()),
    ]
