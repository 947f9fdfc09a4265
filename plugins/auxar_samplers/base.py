"""What the samplers that run programs share."""

from __future__ import annotations

import abc
from typing import Any

import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.interfaces import CausalNetwork, Draws, Known, Sampler, Walk
from auxar_samplers.canvas import Canvas
from auxar_samplers.compiler.trace import NoScheduleError
from auxar_samplers.engines.choice import check_engine


class ProgramSampler(Sampler, abc.ABC):
    """Draws what the raster sampler draws. Raises `UserError` for a network with parts that it cannot run."""

    name: str
    restricts = True

    def __init__(self, engine: str = "auto") -> None:
        check_engine(engine)
        self.engine = engine

    @abc.abstractmethod
    def prepare(self, network: CausalNetwork) -> Any:
        """What a run needs to know of a network. Raises `NoScheduleError`."""

    @abc.abstractmethod
    def run(self, prepared: Any, features: Tensor | None, canvas: Canvas) -> Tensor:
        """Draws the canvas's images: int64, (b, c, h, w)."""

    def check(self, network: CausalNetwork) -> None:
        self._prepared(network)

    @torch.no_grad()
    def sample(
        self,
        network: CausalNetwork,
        features: Tensor | None,
        draws: Draws,
        known: Known | None = None,
        walk: Walk | None = None,
    ) -> Tensor:
        training = network.training
        network.eval()
        try:
            canvas = Canvas(network, draws, known, walk, self.engine)
            return self.run(self._prepared(network), features, canvas)
        finally:
            network.train(training)

    def _prepared(self, network: CausalNetwork) -> Any:
        try:
            return self.prepare(network)
        except NoScheduleError as error:
            raise UserError(f"sampler '{self.name}': {error}; sampler 'raster' works for every network") from None
