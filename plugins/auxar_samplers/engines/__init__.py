"""Engines, which run all steps of a sampler's program on one device."""

from auxar_samplers.engines.base import BrokenError, Engine, UnavailableError, call_back
from auxar_samplers.engines.choice import EngineChoice
from auxar_samplers.engines.native.sources import HasNativeForm, NativeForm

__all__ = [
    "BrokenError",
    "Engine",
    "EngineChoice",
    "HasNativeForm",
    "NativeForm",
    "UnavailableError",
    "call_back",
]
