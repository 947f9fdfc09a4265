"""The reference sampler: one full pass of the network for each pixel, in raster order."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.interfaces import CausalNetwork, Draws, Known, Sampler, Walk
from auxar_samplers.canvas import Canvas


@attrs.frozen
class RasterConfig:
    """One full pass of the network for each pixel: for any causal network, and the reference for all others."""


class RasterSampler(Sampler):
    """Works for every causal network, and slowly."""

    restricts = True

    @torch.no_grad()
    def sample(
        self,
        network: CausalNetwork,
        features: Tensor | None,
        draws: Draws,
        known: Known | None = None,
        walk: Walk | None = None,
    ) -> Tensor:
        canvas = Canvas(network, draws, known, walk)
        training = network.training
        network.eval()
        try:
            for place in range(canvas.height * canvas.width):
                row, column = divmod(place, canvas.width)
                parameters = network(network.encode(canvas.image), features)[:, :, row, column]
                canvas.draw(canvas.place(place), parameters)
        finally:
            network.train(training)
        return canvas.image
