"""Engines, which run all steps of a sampler's program on one device."""

from auxar_samplers.engines.base import BrokenError as BrokenError
from auxar_samplers.engines.base import Engine as Engine
from auxar_samplers.engines.base import UnavailableError as UnavailableError
from auxar_samplers.engines.base import call_back as call_back
from auxar_samplers.engines.choice import EngineChoice as EngineChoice
from auxar_samplers.engines.native.sources import HasNativeForm as HasNativeForm
from auxar_samplers.engines.native.sources import NativeForm as NativeForm
