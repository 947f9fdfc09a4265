"""An embedding of residual blocks at the resolution of the view."""

import math

import attrs
import torch
from torch import Tensor, nn

from auxar import Encoded, ImageSpec, UserError
from auxar_convnet.network import ResidualBlock
from auxar_layers.convolution_gradients import Pair, pair
from auxar_layers.convolutions import Conv2d, UpsamplingConv2d
from auxar_pixelcnn.embedding import InitializedEmbedding


class ConvEmbedding(InitializedEmbedding):
    """An embedding that computes features at the resolution of the view and then enlarges them.

    The first features are the channels of the view, enlarged by repeating its pixels. With `grid`, the encoded view has
    a further channel for each place in a square of the grid, which is 1 at this place and 0 elsewhere.
    """

    marks_pixels = True
    compiles = False

    def __init__(
        self,
        view: ImageSpec,
        image: ImageSpec,
        *,
        factor: Pair,
        filters: int,
        hidden: int,
        blocks: int,
        dropout: float,
        grid: int,
    ) -> None:
        super().__init__(view, image, image.channels + filters)
        self.grid = [grid // each for each in pair(factor)]
        """Rows and columns of the view that a square of the grid covers."""
        if any(grid % each for each in pair(factor)):
            raise UserError(f"grid: expected 0 or a multiple of the view's factor {factor}, got {grid}")
        inputs = self.encoded.channels
        self.enlarge = UpsamplingConv2d(inputs, image.channels, factor=factor, normalized=False)
        self.start = Conv2d(inputs, filters, normalized=False)
        self.blocks = nn.ModuleList(
            ResidualBlock(filters, hidden, dropout, Conv2d(filters, hidden, normalized=False)) for _ in range(blocks)
        )
        self.out = UpsamplingConv2d(filters, filters, factor=factor, normalized=False)
        self._start_enlarging()

    def encode(self, view: Tensor) -> Tensor:
        return self._with_places(super().encode(view), 1)

    def encode_integers(self, view: Tensor) -> Tensor:
        return self._with_places(super().encode_integers(view), self.view.levels - 1)

    @property
    def encoded(self) -> Encoded:
        own = super().encoded
        return attrs.evolve(own, channels=own.channels + math.prod(self.grid))

    def _with_places(self, encoded: Tensor, one: int) -> Tensor:
        """Appends the channels of places to an encoded view. `one` is the value at a channel's place."""
        if not (places := math.prod(self.grid)):
            return encoded
        square = one * torch.eye(places, dtype=encoded.dtype, device=encoded.device).view(places, *self.grid)
        height, width = encoded.shape[2:]
        tiled = square.repeat(1, *(-(-size // side) for size, side in zip((height, width), self.grid, strict=True)))
        found = torch.cat([encoded, tiled[:, :height, :width].expand(len(encoded), -1, -1, -1)], 1)
        return found.contiguous(memory_format=torch.channels_last)

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
