"""The images that are being drawn, pixel by pixel: noise, known pixels, what has been drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar.causal import restrictable
from auxar.interfaces import CausalNetwork, Draws, Known
from auxar.support import DrawnPixels, Walk


class Canvas:
    """Every sampler draws through one, so that a pixel depends on its parameters, its noise and its rule alone.

    Places are numbers row · width + column of pixels; height · width stands for "outside of the image".
    """

    def __init__(self, network: CausalNetwork, draws: Draws, known: Known | None, walk: Walk | None = None) -> None:
        self.network = network
        self.walk = walk
        self.rule = draws.rule
        self.batch = len(draws.indices)
        channels, self.height, self.width = network.image.shape
        device = next(network.parameters()).device
        count = network.head.uniform_count if walk is None else restrictable(network.head).restricted_uniform_count
        uniforms = draws.uniforms((count, self.height, self.width), device)
        self._uniforms = _by_place(uniforms)
        self._image = torch.zeros(
            (self.height * self.width + 1, self.batch, channels), dtype=torch.int64, device=device
        )
        self._known: Tensor | None = None
        if known is not None:
            known.check(network.image, self.batch)
            self._known = _by_place(known.mask.to(device)[:, None])
            self._values = _by_place(known.filled().to(device, torch.int64))

    def draw(self, places: Tensor, parameters: Tensor) -> Tensor:
        """Draws the pixels at places (n,) of all images: parameters (n · batch, P) to encoded pixels (n · batch, c)."""
        noise = self._uniforms.index_select(0, places).flatten(0, 1)
        if self.walk is None:
            drawn = self.network.head.draw(parameters, noise, self.rule).view(len(places), self.batch, -1)
            if self._known is not None:
                drawn = torch.where(self._known[places], self._values[places], drawn)
        else:
            pixels = DrawnPixels(self.walk, self.network.image.levels, places, self._known_at(places))
            drawn = restrictable(self.network.head).draw_restricted(parameters, noise, self.rule, pixels)
            drawn = drawn.view(len(places), self.batch, -1)
        self._image.index_copy_(0, places, drawn)
        return self.network.encode(drawn.view(len(places) * self.batch, -1, 1, 1)).flatten(1)

    def _known_at(self, places: Tensor) -> Known | None:
        if self._known is None:
            return None
        return Known(self._values[places].flatten(0, 1), self._known[places].flatten())

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
