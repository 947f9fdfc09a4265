"""Engines, which run all steps of a sampler's program on one device."""

from auxar_samplers.engines.base import Engine, UnavailableError, call_back
from auxar_samplers.engines.choice import EngineChoice

__all__ = ["Engine", "EngineChoice", "UnavailableError", "call_back"]
