"""The cached sampler: every value is computed once, and values that depend on rows above for a whole row at a time."""

from __future__ import annotations

import attrs
from torch import Tensor

from auxar import CausalNetwork
from auxar_samplers.compiler.cached import cached_program
from auxar_samplers.compiler.plan import Plan, make_plan
from auxar_samplers.compiler.program import Program
from auxar_samplers.engines.choice import EngineChoice
from auxar_samplers.program_sampler import ProgramSampler


@attrs.frozen
class CachedConfig:
    """Every value once, coarse ones where row and column divide: exact, for networks of several resolutions."""

    engine: EngineChoice = attrs.field(factory=EngineChoice)
    """The engine that runs the program, by its name, or auto: the first that can, by priority."""


class CachedSampler(ProgramSampler):
    """For networks of one or several resolutions."""

    name = "cached"

    def prepare(self, network: CausalNetwork) -> Plan:
        return make_plan(network)

    def program(
        self, network: CausalNetwork, prepared: Plan, features: Tensor | None, count: int, reach: int
    ) -> Program:
        # Pixels come in raster order, so all rows above are there whatever the reach.
        return cached_program(network, prepared, features, count)
