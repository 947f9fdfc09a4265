"""Samplers of causal networks."""

from auxar_pixelcnn.samplers.auto import AutoConfig, AutoSampler
from auxar_pixelcnn.samplers.cached import CachedConfig, CachedSampler
from auxar_pixelcnn.samplers.raster import RasterConfig, RasterSampler
from auxar_pixelcnn.samplers.wavefront import WavefrontConfig, WavefrontSampler

__all__ = [
    "AutoConfig",
    "AutoSampler",
    "CachedConfig",
    "CachedSampler",
    "RasterConfig",
    "RasterSampler",
    "WavefrontConfig",
    "WavefrontSampler",
]
