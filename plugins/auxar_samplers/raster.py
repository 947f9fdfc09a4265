"""The reference sampler, which runs the whole network once for each pixel, in raster order."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar import CausalNetwork, PixelSource, Sampler, evaluating
from auxar_samplers.asking import ask, check_drawn


@attrs.frozen
class RasterConfig:
    """Runs the whole network once for each pixel. Supports every causal network.

    The other samplers are tested against this one. Except for rounding, they draw the same images.
    """


class RasterSampler(Sampler):
    """Draws from any causal network, slowly: it runs the whole network once for each pixel."""

    @torch.no_grad()
    def sample(self, network: CausalNetwork, features: Tensor | None, source: PixelSource) -> Tensor:
        channels, height, width = network.image.shape
        device = next(network.parameters()).device
        image = torch.zeros((source.count, channels, height, width), dtype=torch.int64, device=device)
        with evaluating(network):
            # If the lag is less than the width, rows above are not complete yet where the network does not read them.
            # This is not checked: with too small a lag, predictions would differ from those of the encoder.
            lag = width if source.lag is None else source.lag
            for place in sorted(range(height * width), key=lambda place: place // width * lag + place % width):
                row, column = divmod(place, width)
                parameters = network(network.encode(image), features)[:, :, row, column]
                places = torch.tensor([place], device=device)
                image[:, :, row, column] = ask(source, places, parameters, channels)[0]
        check_drawn(source, image, network.image)
        return image
