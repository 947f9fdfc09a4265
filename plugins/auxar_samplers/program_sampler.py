"""The base class of samplers that compile a network to a program, which an engine runs."""

from __future__ import annotations

import abc
import contextlib
from typing import Any

import torch
from torch import Tensor

from auxar import CausalNetwork, PixelSource, Sampler, UserError, evaluating
from auxar.numerics.threads import threads
from auxar_samplers.asking import check_drawn
from auxar_samplers.compiler.program import Program
from auxar_samplers.compiler.trace import NoScheduleError
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

    @torch.no_grad()
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
