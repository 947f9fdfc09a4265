"""The wavefront sampler, which draws many rows of an image at once, each a few columns behind the row above."""

from __future__ import annotations

import attrs
from torch import Tensor

from auxar import CausalNetwork, PixelSource, UserError
from auxar_samplers.compiler.program import Program
from auxar_samplers.compiler.schedule import Schedule, delayed, make_schedule
from auxar_samplers.compiler.wavefront import wavefront_program
from auxar_samplers.engines.choice import EngineChoice
from auxar_samplers.program_sampler import ProgramSampler


@attrs.frozen
class WavefrontConfig:
    """Draws many rows of an image at once. Supports networks of one resolution.

    Each row runs `lag` columns behind the row above, so an image takes about height · lag + width steps.
    """

    engine: EngineChoice = attrs.field(factory=EngineChoice)
    """The engine that runs the program. The engine name `auto` selects the engine of highest priority that supports the
    program."""


class WavefrontSampler(ProgramSampler):
    """Draws many rows of an image at once. Supports networks of one resolution."""

    name = "wavefront"

    def prepare(self, network: CausalNetwork) -> Schedule:
        return make_schedule(network)

    def lag(self, network: CausalNetwork, reach: int = 0) -> int:
        # With a larger lag than the width, pixels are also drawn in raster order.
        return min(delayed(self._prepared(network), reach).lag, network.image.width)

    def program(
        self, network: CausalNetwork, prepared: Schedule, features: Tensor | None, source: PixelSource
    ) -> Program:
        schedule = delayed(prepared, source.reach)
        if source.lag is not None:
            least = min(schedule.lag, network.image.width)
            if source.lag < least:
                raise UserError(f"sampler '{self.name}' needs a lag of at least {least} columns, got {source.lag}")
            schedule = attrs.evolve(schedule, lag=max(source.lag, schedule.lag))
        return wavefront_program(network, schedule, features, source.count)
