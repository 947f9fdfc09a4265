"""The images that are being drawn, pixel by pixel: noise, known pixels, what has been drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar.causal import restrictable
from auxar.interfaces import CausalNetwork, Draws, Interval, Known, Walk
from auxar_samplers.engines.drawing import Source, make_drawing


class Canvas:
    """Every sampler draws through one, so that a pixel depends on its parameters, its noise and its rule alone.

    Places are numbers row · width + column of pixels; height · width stands for "outside of the image".
    """

    def __init__(
        self,
        network: CausalNetwork,
        draws: Draws,
        known: Known | None,
        walk: Walk | None = None,
        engine: str = "plain",
    ) -> None:
        self.network = network
        self.walk = walk
        self.batch = len(draws.indices)
        channels, self.height, self.width = network.image.shape
        device = next(network.parameters()).device
        count = network.head.uniform_count if walk is None else restrictable(network.head).restricted_uniform_count
        uniforms = _by_place(draws.uniforms((count, self.height, self.width), device))
        self._image = torch.zeros(
            (self.height * self.width + 1, self.batch, channels), dtype=torch.int64, device=device
        )
        limits = None
        if known is not None:
            known.check(network.image, self.batch)
            ends = (known.lowest(), known.highest(network.image.levels))
            limits = Interval(*(_by_place(values.to(device, torch.int64)) for values in ends))
        source = Source(network.head, network.image.levels, draws.rule, uniforms, limits, walk)
        self._drawing = make_drawing(source, engine)

    def draw(self, places: Tensor, parameters: Tensor) -> Tensor:
        """Draws the pixels at places (n,) of all images: parameters (n · batch, P) to encoded pixels (n · batch, c)."""
        drawn = self._drawing(places, parameters)
        self._image.index_copy_(0, places, drawn)
        return self.network.encode(drawn.view(len(places) * self.batch, -1, 1, 1)).flatten(1)

    def place(self, number: int) -> Tensor:
        """One place, as `draw` takes them."""
        return torch.tensor([number], device=self._image.device)

    @property
    def image(self) -> Tensor:
        """What has been drawn, zeros elsewhere: int64, (b, c, h, w)."""
        image = self._image[:-1].view(self.height, self.width, self.batch, -1)
        return image.permute(2, 3, 0, 1).contiguous()


def _by_place(values: Tensor) -> Tensor:
    """(b, c, h, w) to (h · w + 1, b, c), the last row zero."""
    rows = values.permute(2, 3, 0, 1).flatten(0, 1)
    return torch.cat([rows, rows.new_zeros((1, *rows.shape[1:]))])
