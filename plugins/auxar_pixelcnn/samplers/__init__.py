"""Samplers of causal networks."""

from auxar_pixelcnn.samplers.auto import AutoConfig, AutoSampler
from auxar_pixelcnn.samplers.raster import RasterConfig, RasterSampler
from auxar_pixelcnn.samplers.wavefront import WavefrontConfig, WavefrontSampler

__all__ = ["AutoConfig", "AutoSampler", "RasterConfig", "RasterSampler", "WavefrontConfig", "WavefrontSampler"]
