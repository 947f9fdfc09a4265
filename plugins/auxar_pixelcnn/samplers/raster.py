"""The reference sampler: one full pass of the network for each pixel, in raster order."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.interfaces import CausalNetwork, Draws, Sampler


@attrs.frozen
class RasterConfig:
    """One full pass of the network for each pixel: for any causal network, and the reference for all others."""


class RasterSampler(Sampler):
    """Works for every causal network, and slowly."""

    @torch.no_grad()
    def sample(self, network: CausalNetwork, features: Tensor | None, draws: Draws) -> Tensor:
        channels, height, width = network.image.shape
        device = next(network.parameters()).device
        uniforms = draws.uniforms((network.head.uniform_count, height, width), device)
        image = torch.zeros((len(draws.indices), channels, height, width), dtype=torch.int64, device=device)
        training = network.training
        network.eval()
        try:
            for row in range(height):
                for column in range(width):
                    parameters = network(network.encode(image), features)[:, :, row, column]
                    image[:, :, row, column] = network.head.draw(parameters, uniforms[:, :, row, column], draws.rule)
        finally:
            network.train(training)
        return image
