"""PixelCNN++ networks with two causal streams: `LightNetwork` has one resolution, `FullNetwork` three."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import elu

from auxar import Head, ImageSpec
from auxar_layers.convolutions import CausalConv2d, Conv2d, Pointwise, UpsamplingConv2d
from auxar_layers.initialization import InitializedNetwork
from auxar_pixelcnn.blocks import u_block, ul_block

Pair = tuple[Tensor, Tensor]
"""Values of the streams u and ul."""


class Streams(nn.Module):
    """The first layers of both streams: u reads rows above, and ul reads rows above and pixels to the left."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.u = CausalConv2d(channels + 1, filters, above=(1, 2), columns=(-1, 1))
        self.ul_above = CausalConv2d(channels + 1, filters, above=(1, 1), columns=(-1, 1))
        self.ul_left = CausalConv2d(channels + 1, filters, above=(0, 1), columns=(-1, -1))

    def forward(self, x: Tensor) -> Pair:
        return self.u(x), self.ul_above(x) + self.ul_left(x)


class LightNetwork(InitializedNetwork):
    """A network of residual blocks at one resolution.

    The paper uses it for the decoders of the pyramid, and for the prior of the coarsest view (section 4.2).
    """

    compiles = True

    def __init__(
        self,
        image: ImageSpec,
        head: Head,
        *,
        filters: int,
        blocks: int,
        features_channels: int,
        dropout: float,
        kernel: int = 2,
    ) -> None:
        super().__init__(image, head, features_channels)
        features = [features_channels] if features_channels else []
        self.start = Streams(image.channels, filters)
        self.u_blocks = nn.ModuleList(u_block(filters, features, dropout, kernel) for _ in range(blocks))
        self.ul_blocks = nn.ModuleList(ul_block(filters, [filters, *features], dropout, kernel) for _ in range(blocks))
        self.out = Pointwise([filters], head.parameter_count)

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        side = () if features is None else (features,)
        u, ul = self.start(image)
        for u_block_, ul_block_ in zip(self.u_blocks, self.ul_blocks, strict=True):
            u = u_block_(u, *side)
            ul = ul_block_(ul, u, *side)
        return self.out(elu(ul))


class Resolution(nn.Module):
    """The residual blocks of both streams at one resolution, on the way down or on the way up.

    On the way down, the outputs of each pair of blocks are appended to `skips`. On the way up (`rising`), the last
    entry is popped for each pair of blocks, as side inputs.
    """

    def __init__(
        self, blocks: int, filters: int, features: Sequence[int], dropout: float, kernel: int, *, rising: bool
    ) -> None:
        super().__init__()
        skips = [filters] if rising else []
        u_sides = [*skips, *features]
        self.rising = rising
        self.u_blocks = nn.ModuleList(u_block(filters, u_sides, dropout, kernel) for _ in range(blocks))
        self.ul_blocks = nn.ModuleList(ul_block(filters, [filters, *u_sides], dropout, kernel) for _ in range(blocks))

    def forward(self, u: Tensor, ul: Tensor, side: Sequence[Tensor], skips: list[Pair]) -> Pair:
        for u_block_, ul_block_ in zip(self.u_blocks, self.ul_blocks, strict=True):
            if self.rising:
                u_skip, ul_skip = skips.pop()
                u = u_block_(u, u_skip, *side)
                ul = ul_block_(ul, u, ul_skip, *side)
            else:
                u = u_block_(u, *side)
                ul = ul_block_(ul, u, *side)
                skips.append((u, ul))
        return u, ul


class FullNetwork(InitializedNetwork):
    """A network of three resolutions, with skip connections from the way down to the way up.

    See Salimans et al. 2017, section 2.4 and figure 2. Each stream has `nr_resnet` blocks at each resolution on the way
    down and again on the way up, where the two finer resolutions have one more: 15 + 17 blocks for nr_resnet = 5.
    Strided convolutions reduce the features of the view to the two coarser resolutions.
    """

    compiles = True

    def __init__(
        self,
        image: ImageSpec,
        head: Head,
        *,
        filters: int,
        nr_resnet: int,
        features_channels: int,
        dropout: float,
        kernel: int = 2,
    ) -> None:
        super().__init__(image, head, features_channels)
        features = [features_channels] if features_channels else []
        n = nr_resnet
        self.start = Streams(image.channels, filters)
        self.down = nn.ModuleList(Resolution(n, filters, features, dropout, kernel, rising=False) for _ in range(3))
        self.up = nn.ModuleList(
            Resolution(k, filters, features, dropout, kernel, rising=True) for k in (n, n + 1, n + 1)
        )
        shrink = partial(CausalConv2d, filters, filters, above=(0, 1), stride=2)
        self.shrink_u = nn.ModuleList(shrink(columns=(-1, 1)) for _ in range(2))
        self.shrink_ul = nn.ModuleList(shrink(columns=(-1, 0)) for _ in range(2))
        self.grow_u = nn.ModuleList(UpsamplingConv2d(filters, filters, overlap=(1, 0)) for _ in range(2))
        self.grow_ul = nn.ModuleList(UpsamplingConv2d(filters, filters) for _ in range(2))
        self.shrink_features = nn.ModuleList(
            Conv2d(features_channels, features_channels, stride=2) for _ in range(2 if features_channels else 0)
        )
        self.out = Pointwise([filters], head.parameter_count)

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        sides = self._features(features)
        u, ul = self.start(image)
        skips = [(u, ul)]
        for resolution, blocks in enumerate(self.down):
            if resolution:
                u = self.shrink_u[resolution - 1](u)
                ul = self.shrink_ul[resolution - 1](ul)
                skips.append((u, ul))
            u, ul = blocks(u, ul, sides[resolution], skips)
        u, ul = skips.pop()
        for step, blocks in enumerate(self.up):
            resolution = 2 - step
            u, ul = blocks(u, ul, sides[resolution], skips)
            if resolution:
                # The next finer resolution has the image's size, halved `resolution - 1` times and always rounded up.
                height, width = (-(-side // 2 ** (resolution - 1)) for side in self.image.shape[1:])
                u = self.grow_u[step](u, height, width)
                ul = self.grow_ul[step](ul, height, width)
        return self.out(elu(ul))

    def _features(self, features: Tensor | None) -> list[tuple[Tensor, ...]]:
        """The side inputs (features) of each resolution, finest resolution first."""
        if features is None:
            return [(), (), ()]
        found = [features]
        for shrink in self.shrink_features:
            found.append(shrink(found[-1]))
        return [(each,) for each in found]
