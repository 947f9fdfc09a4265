"""The samplers that need no program and draw in raster order: `raster`, the reference, and `stepwise`.

`raster` runs the whole network once for each pixel. `stepwise` is for networks that predict one pixel at a time, such
as transformers.
"""

import attrs
import torch
from torch import Tensor

from auxar import CausalNetwork, PixelSource, Sampler, StepwiseNetwork, UserError, evaluating
from auxar_samplers.asking import ask, check_drawn, check_raster_order


@attrs.frozen
class RasterConfig:
    """Runs the whole network once for each pixel. Supports every causal network.

    The other samplers are tested against this one. Except for rounding, they draw the same images.
    """


class RasterSampler(Sampler):
    """Draws from any causal network, slowly: it runs the whole network once for each pixel."""

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
                image[:, :, row, column] = ask(source, torch.tensor([place], device=device), parameters, channels)[0]
        check_drawn(source, image, network.image)
        return image


@attrs.frozen
class StepwiseConfig:
    """Computes every value of the network once. Supports networks that predict one pixel at a time
    (`auxar.StepwiseNetwork`), such as `transformer`."""


class StepwiseSampler(Sampler):
    """Draws in raster order from a `StepwiseNetwork`, which keeps values of earlier pixels."""

    def check(self, network: CausalNetwork) -> None:
        if not isinstance(network, StepwiseNetwork):
            kind = type(network).__name__
            raise UserError(f"sampler 'stepwise' needs a network derived from auxar.StepwiseNetwork, got {kind}")

    def sample(self, network: CausalNetwork, features: Tensor | None, source: PixelSource) -> Tensor:
        self.check(network)
        assert isinstance(network, StepwiseNetwork)
        channels, height, width = network.image.shape
        check_raster_order("stepwise", source.lag, network.image)
        device = next(network.parameters()).device
        images = torch.empty((height * width, source.count, channels), dtype=torch.int64, device=device)
        with evaluating(network):
            predict, previous = network.stepper(source.count, features), None
            for pixel, place in zip(images, torch.arange(height * width, device=device).split(1), strict=True):
                pixel.copy_(ask(source, place, predict(previous), channels)[0])
                previous = network.encode(pixel[:, :, None, None]).flatten(1)
        found: Tensor = images.permute(1, 2, 0).unflatten(2, (height, width)).contiguous()
        check_drawn(source, found, network.image)
        return found
