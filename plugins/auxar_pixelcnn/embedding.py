"""The embeddings f_w: one stream of ordinary gated blocks over the view (paper, sections 3.3 and 4.2).

As in the authors' released code, upsampling mixes neighboring pixels, and there is no nonlinearity before or after the
last convolution.
"""

from torch import Tensor, nn

from auxar import ImageSpec, NetworkEmbedding
from auxar_layers.convolutions import Conv2d, TransposedConv2d, data_dependent_initialization
from auxar_pixelcnn.blocks import ordinary_block


class InitializedEmbedding(NetworkEmbedding):
    """The base class of embeddings of convolutions, which are initialized from their outputs for a batch of views."""

    compiles = True
    any_size = True

    def __init__(self, view: ImageSpec, image: ImageSpec, features_channels: int) -> None:
        super().__init__()
        self.view = view
        self.image = image
        self.features_channels = features_channels

    def initialize(self, view: Tensor) -> None:
        with data_dependent_initialization(self):
            self(view)


class Group(nn.Module):
    """Residual blocks at one resolution.

    Each block appends its output to `skips`. If `rising`, each block instead pops the last entry of `skips` as its side
    input.
    """

    def __init__(self, blocks: int, filters: int, dropout: float, *, rising: bool = False) -> None:
        super().__init__()
        self.rising = rising
        sides = [filters] if rising else []
        self.blocks = nn.ModuleList(ordinary_block(filters, sides, dropout) for _ in range(blocks))

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        for block in self.blocks:
            if self.rising:
                x = block(x, skips.pop())
            else:
                x = block(x)
                skips.append(x)
        return x


class SameSizeEmbedding(InitializedEmbedding):
    """An embedding for views of the image's size, such as grayscale. It has the layout of PixelCNN++ with one stream.

    Three groups of blocks lead down to a quarter of the height and width, and three lead up. The last two groups have
    one more block.
    """

    marks_pixels = True
    weights_version = 2

    def __init__(self, view: ImageSpec, image: ImageSpec, *, filters: int, blocks: int, dropout: float) -> None:
        super().__init__(view, image, filters)
        self.start = Conv2d(view.channels + 1, filters)
        self.down = nn.ModuleList(Group(blocks, filters, dropout) for _ in range(3))
        self.shrink = nn.ModuleList(Conv2d(filters, filters, stride=2) for _ in range(2))
        self.up = nn.ModuleList(Group(size, filters, dropout, rising=True) for size in (blocks, blocks + 1, blocks + 1))
        self.grow = nn.ModuleList(TransposedConv2d(filters, filters) for _ in range(2))
        self.out = Conv2d(filters, filters)

    def features(self, view: Tensor) -> Tensor:
        x = self.start(view)
        skips = [x]
        for index, group in enumerate(self.down):
            if index:
                x = self.shrink[index - 1](x)
                skips.append(x)
            x = group(x, skips)
        x = skips.pop()
        for index, group in enumerate(self.up):
            if index:
                # The next finer resolution has the view's size, halved `2 - index` times and always rounded up.
                height, width = (-(-side // 2 ** (2 - index)) for side in self.view.shape[1:])
                x = self.grow[index - 1](x, height, width)
            x = group(x, skips)
        return self.out(x)


class EnlargingEmbedding(InitializedEmbedding):
    """An embedding for views that are `factor` times smaller than the image, such as the pyramid (paper, section 4.2).

    It has five groups of blocks. The first is followed by downsampling, the third by upsampling to the size of the
    view, and the fourth by upsampling to the size of the image. The third group has skip connections from the second,
    and the fourth from the first.
    """

    marks_pixels = True
    weights_version = 2

    def __init__(
        self, view: ImageSpec, image: ImageSpec, *, factor: int, filters: int, blocks: int, dropout: float
    ) -> None:
        super().__init__(view, image, filters)
        self.start = Conv2d(view.channels + 1, filters)
        self.first, self.second = Group(blocks, filters, dropout), Group(blocks, filters, dropout)
        self.third = Group(blocks, filters, dropout, rising=True)
        self.fourth = Group(blocks, filters, dropout, rising=True)
        self.fifth = Group(blocks, filters, dropout)
        self.shrink = Conv2d(filters, filters, stride=2)
        self.grow = TransposedConv2d(filters, filters)
        self.enlarge = TransposedConv2d(filters, filters, factor=factor)
        self.out = Conv2d(filters, filters)

    def features(self, view: Tensor) -> Tensor:
        fine: list[Tensor] = []
        coarse: list[Tensor] = []
        x = self.start(view)
        x = self.shrink(self.first(x, fine))
        x = self.third(self.second(x, coarse), coarse)
        x = self.grow(x, self.view.height, self.view.width)
        x = self.enlarge(self.fourth(x, fine), self.image.height, self.image.width)
        return self.out(self.fifth(x, []))
