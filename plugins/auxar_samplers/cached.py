"""The cached sampler, which computes every value of a network once.

It computes values that depend only on rows above for a whole row at a time, and all others pixel by pixel.
"""

from __future__ import annotations

import attrs
from torch import Tensor

from auxar import CausalNetwork, PixelSource
from auxar_samplers.asking import check_raster_order
from auxar_samplers.compiler.cached import cached_program
from auxar_samplers.compiler.plan import Plan, make_plan
from auxar_samplers.compiler.program import Program
from auxar_samplers.engines.choice import EngineChoice
from auxar_samplers.program_sampler import ProgramSampler


@attrs.frozen
class CachedConfig:
    """Computes every value of the network once. Supports networks of one or several resolutions."""

    engine: EngineChoice = attrs.field(factory=EngineChoice)
    """The engine that runs the program. The engine name `auto` selects the engine of highest priority that supports the
    program."""


class CachedSampler(ProgramSampler):
    """Draws from networks of one or several resolutions, and computes every value of the network once."""

    name = "cached"

    def prepare(self, network: CausalNetwork) -> Plan:
        return make_plan(network)

    def program(self, network: CausalNetwork, prepared: Plan, features: Tensor | None, source: PixelSource) -> Program:
        # Pixels are drawn in raster order, so all rows above are complete, up to any reach.
        check_raster_order(self.name, source.lag, network.image)
        return cached_program(network, prepared, features, source.count)
