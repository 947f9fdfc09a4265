"""The wavefront sampler, which draws many rows of an image at once, each a few columns behind the row above."""

from __future__ import annotations

import attrs
from torch import Tensor

from auxar import CausalNetwork
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

    def program(
        self, network: CausalNetwork, prepared: Schedule, features: Tensor | None, count: int, reach: int
    ) -> Program:
        # A reach beyond the width of the image has no further effect.
        schedule = delayed(prepared, min(reach, network.image.width))
        return wavefront_program(network, schedule, features, count)
