"""f_w: one stream of ordinary gated blocks over the view (paper, sections 3.3 and 4.2)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import elu

from auxar.interfaces import Embedding, ImageSpec
from auxar_pixelcnn.blocks import ordinary_block
from auxar_pixelcnn.layers import Conv2d, UpsamplingConv2d, data_dependent_initialization
from auxar_pixelcnn.networks import encode


def _group(blocks: int, filters: int, dropout: float, *, skips: bool) -> nn.ModuleList:
    return nn.ModuleList(ordinary_block(filters, [filters] if skips else [], dropout) for _ in range(blocks))


def _descend(group: nn.ModuleList, x: Tensor, skips: list[Tensor]) -> Tensor:
    """Runs the blocks and leaves each one's output in `skips`."""
    for block in group:
        x = block(x)
        skips.append(x)
    return x


def _ascend(group: nn.ModuleList, x: Tensor, skips: list[Tensor]) -> Tensor:
    """Runs the blocks, each with the newest of `skips`."""
    for block in group:
        x = block(x, skips.pop())
    return x


class SameSizeEmbedding(Embedding):
    """Features at the view's own size, for the grayscale view: the layout of PixelCNN++ with one stream.

    Three groups down to a quarter of the size and three up, one block more in the two finer ones.
    """

    def __init__(self, view: ImageSpec, image: ImageSpec, *, filters: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.view = view
        self.image = image
        self.features_channels = filters
        self.start = Conv2d(view.channels + 1, filters)
        self.down = nn.ModuleList(_group(blocks, filters, dropout, skips=False) for _ in range(3))
        self.shrink = nn.ModuleList(Conv2d(filters, filters, stride=2) for _ in range(2))
        sizes = (blocks, blocks + 1, blocks + 1)
        self.up = nn.ModuleList(_group(size, filters, dropout, skips=True) for size in sizes)
        self.grow = nn.ModuleList(UpsamplingConv2d(filters, filters) for _ in range(2))
        self.out = Conv2d(filters, filters)

    def forward(self, view: Tensor) -> Tensor:
        self.view.check(view, "view")
        x = self.start(encode(view, self.view, self.out.bias.dtype))
        skips = [x]
        for index, group in enumerate(self.down):
            if index:
                x = self.shrink[index - 1](x)
                skips.append(x)
            x = _descend(group, x, skips)
        x = skips.pop()
        for index, group in enumerate(self.up):
            if index:
                x = self.grow[index - 1](x, *skips[-1].shape[2:])
            x = _ascend(group, x, skips)
        return self.out(elu(x))

    def initialize(self, view: Tensor) -> None:
        with data_dependent_initialization(self):
            self(view)


class EnlargingEmbedding(Embedding):
    """Features at `factor` times the view's size, for the pyramid: five groups of blocks (paper, section 4.2).

    Downsampling after the first group, upsampling after the third (back to the view's size) and the fourth (to the
    image's); the third group takes skips from the second, the fourth from the first.
    """

    def __init__(
        self, view: ImageSpec, image: ImageSpec, *, factor: int, filters: int, blocks: int, dropout: float
    ) -> None:
        super().__init__()
        self.view = view
        self.image = image
        self.features_channels = filters
        self.start = Conv2d(view.channels + 1, filters)
        self.groups = nn.ModuleList(
            _group(blocks, filters, dropout, skips=skips) for skips in (False, False, True, True, False)
        )
        self.shrink = Conv2d(filters, filters, stride=2)
        self.grow = UpsamplingConv2d(filters, filters)
        self.enlarge = UpsamplingConv2d(filters, filters, factor=factor)
        self.out = Conv2d(filters, filters)

    def forward(self, view: Tensor) -> Tensor:
        self.view.check(view, "view")
        first, second, third, fourth, fifth = self.groups
        fine: list[Tensor] = []
        coarse: list[Tensor] = []
        x = self.start(encode(view, self.view, self.out.bias.dtype))
        x = self.shrink(_descend(first, x, fine))
        x = _ascend(third, _descend(second, x, coarse), coarse)
        x = self.grow(x, self.view.height, self.view.width)
        x = self.enlarge(_ascend(fourth, x, fine), self.image.height, self.image.width)
        for block in fifth:
            x = block(x)
        return self.out(elu(x))

    def initialize(self, view: Tensor) -> None:
        with data_dependent_initialization(self):
            self(view)
