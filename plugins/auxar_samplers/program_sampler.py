"""The samplers that compile a network to a program, which an engine runs: `wavefront` and `cached`.

The wavefront sampler draws many rows of an image at once, each a few columns behind the row above. The cached sampler
computes every value of a network once: values that depend only on rows above for a whole row at a time, and all others
pixel by pixel.
"""

import abc
import contextlib
from typing import Any

import attrs
from torch import Tensor

from auxar import CausalNetwork, PixelSource, Sampler, UserError, evaluating
from auxar.numerics.threads import threads
from auxar_samplers.asking import check_drawn, check_raster_order
from auxar_samplers.compiler.cached import cached_program
from auxar_samplers.compiler.plan import Plan, make_plan
from auxar_samplers.compiler.program import Program
from auxar_samplers.compiler.trace import NoScheduleError
from auxar_samplers.compiler.wavefront import Schedule, delayed, make_schedule, wavefront_program
from auxar_samplers.engines.choice import EngineChoice

FEW_FEATURES = 2**20
"""Number of values of features up to which a program is compiled with one thread."""


class ProgramSampler(Sampler, abc.ABC):
    """The base class of samplers that run a compiled program.

    Except for rounding, they draw the same images as the raster sampler, but faster. `check` and `sample` raise
    `UserError` if the sampler does not support a part of the network.
    """

    name: str
    """The sampler's name in recipes and messages."""

    def __init__(self, engine: EngineChoice | str = "auto") -> None:
        self.engine = EngineChoice.shipped(engine) if isinstance(engine, str) else engine

    @abc.abstractmethod
    def prepare(self, network: CausalNetwork) -> Any:
        """Returns the schedule or plan of a network, which depends neither on the source nor on the batch size.

        Raises `NoScheduleError` if the sampler does not support a part of the network.
        """

    @abc.abstractmethod
    def program(self, network: CausalNetwork, prepared: Any, features: Tensor | None, source: PixelSource) -> Program:
        """Compiles the program that draws the images of a pixel source, from its `count`, `reach` and `lag`.

        `prepared` is the result of `prepare`. `features` has shape (count, features_channels, h, w), or is None. Raises
        `UserError` if the sampler cannot draw in the order of the lag.
        """

    def check(self, network: CausalNetwork) -> None:
        self._prepared(network)

    def sample(self, network: CausalNetwork, features: Tensor | None, source: PixelSource) -> Tensor:
        with evaluating(network):
            prepared = self._prepared(network)
            # Only an embedding of many values is worth the cost of PyTorch's threads.
            few = features is None or features.numel() <= FEW_FEATURES
            with threads(1) if few else contextlib.nullcontext():
                program = self.program(network, prepared, features, source)
            self.engine.run(program, source)
        images = program.images()
        check_drawn(source, images, network.image)
        return images

    def _prepared(self, network: CausalNetwork) -> Any:
        try:
            return self.prepare(network)
        except NoScheduleError as error:
            raise UserError(f"sampler '{self.name}': {error}; sampler 'raster' supports every causal network") from None


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
