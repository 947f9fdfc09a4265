"""An embedding of residual blocks at the resolution of the view."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from auxar import ImageSpec
from auxar_convnet.network import ResidualBlock
from auxar_layers.convolution_gradients import Pair
from auxar_layers.convolutions import Conv2d, UpsamplingConv2d
from auxar_pixelcnn.embedding import InitializedEmbedding


class ConvEmbedding(InitializedEmbedding):
    """An embedding that computes features at the resolution of the view and then enlarges them.

    The first features are the channels of the view, enlarged by repeating its pixels.
    """

    marks_pixels = True
    compiles = False

    def __init__(
        self, view: ImageSpec, image: ImageSpec, *, factor: Pair, filters: int, hidden: int, blocks: int, dropout: float
    ) -> None:
        super().__init__(view, image, image.channels + filters)
        self.enlarge = UpsamplingConv2d(view.channels + 1, image.channels, factor=factor, normalized=False)
        self.start = Conv2d(view.channels + 1, filters, normalized=False)
        self.blocks = nn.ModuleList(
            ResidualBlock(filters, hidden, dropout, Conv2d(filters, hidden, normalized=False)) for _ in range(blocks)
        )
        self.out = UpsamplingConv2d(filters, filters, factor=factor, normalized=False)
        self._start_enlarging()

    def features(self, view: Tensor) -> Tensor:
        x = self.start(view)
        for block in self.blocks:
            x = block(x)
        size = self.image.height, self.image.width
        return torch.cat([self.enlarge(view, *size), self.out(x, *size)], 1)

    def initialize(self, view: Tensor) -> None:
        super().initialize(view)
        self._start_enlarging()

    def _start_enlarging(self) -> None:
        """Sets the weights with which the first features are the view, whose last channel is repeated if needed."""
        with torch.no_grad():
            self.enlarge.bias.zero_()
            self.enlarge.kernel.zero_()
            for channel in range(self.image.channels):
                self.enlarge.kernel[min(channel, self.view.channels - 1), channel] = 1.0
        self.enlarge.requires_grad_(False)
