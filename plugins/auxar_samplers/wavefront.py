"""The wavefront sampler: many rows of an image at once, each some columns behind the one above."""

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
    """Many rows at once, for networks of one resolution: exact, in about height · lag + width steps."""

    engine: EngineChoice = attrs.field(factory=EngineChoice)
    """The engine that runs the program, by its name, or auto: the first that can, by priority."""


class WavefrontSampler(ProgramSampler):
    """For networks of one resolution."""

    name = "wavefront"

    def prepare(self, network: CausalNetwork) -> Schedule:
        return make_schedule(network)

    def program(
        self, network: CausalNetwork, prepared: Schedule, features: Tensor | None, count: int, reach: int
    ) -> Program:
        # A row above is no wider than the image, whatever a source asks for.
        schedule = delayed(prepared, min(reach, network.image.width))
        return wavefront_program(network, schedule, features, count)
