"""The images, image specs and random weights that the checks use."""

import itertools
import re
from typing import Any, TypeVar

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from auxar.model import Adjusted, Adjustments, Ancestral, GivenView, ImageSpec, Interval, Known, SumSupport, Support

Module = TypeVar("Module", bound=nn.Module)

SEEDS = st.integers(0, 2**16)
SCALES = st.sampled_from([0.1, 0.5, 1.0])
"""Standard deviations of random weights: 0.1 gives nearly linear networks, 1.0 strongly nonlinear ones."""
RULES = st.sampled_from(
    [
        Ancestral(),
        Adjusted(Adjustments(centers=True)),
        Adjusted(Adjustments(centers=True, min_weight=0.3)),
        Adjusted(Adjustments(reduction=0.6, min_weight=0.05)),
        Adjusted(Adjustments(temperature=0.5)),
    ]
)


def specs_of(text: str) -> list[ImageSpec]:
    """Image specs from a text such as "2×3×1 4, …": height × width × channels, and the levels."""
    numbers = [[int(number) for number in re.findall(r"\d+", each)] for each in text.split(",")]
    return [ImageSpec(c, height=h, width=w, levels=levels) for h, w, c, levels in numbers]


SIZES = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (2, 4), (4, 2), (4, 4), (5, 7), (6, 6), (8, 8), (12, 12), (16, 16))
SPECS = [
    ImageSpec(channels, height=height, width=width, levels=levels)
    for (height, width), channels, levels in itertools.product(SIZES, (1, 3), (2, 3, 16, 256))
]
"""Image specs for views, smallest first, because hypothesis shrinks counterexamples toward the first element."""
NETWORK_SPECS = specs_of(
    "1×1×1 2, 2×3×1 4, 3×2×3 3, 4×4×1 16, 4×4×3 256, 5×7×3 256, 8×8×3 256, 16×16×3 256, 32×32×3 256"
)
"""Image specs for networks. There are fewer than in `SPECS`, because networks are slower than views."""
TINY_SPECS = specs_of("1×1×1 5, 1×1×3 3, 2×2×1 3, 2×1×3 2, 1×1×3 5, 3×3×1 2, 2×4×1 2, 4×2×1 2")
"""Image specs with so few images that all of them can be enumerated."""


def images(spec: ImageSpec, count: int = 2) -> st.SearchStrategy[Tensor]:
    """A strategy for batches of images, int64 (count, *spec.shape).

    A batch is either uniform noise, or constant except for some sub-pixels.
    """
    values = st.one_of(st.sampled_from([0, spec.levels - 1]), st.integers(0, spec.levels - 1))
    drawn: Any = arrays(np.int64, (count, *spec.shape), elements=values, fill=values)
    return st.one_of(drawn, SEEDS.map(lambda seed: random_images(count, spec, seed).numpy())).map(torch.from_numpy)


def random_images(count: int, spec: ImageSpec, seed: int) -> Tensor:
    """Images of uniform noise, int64 (count, *spec.shape)."""
    return torch.randint(spec.levels, (count, *spec.shape), generator=torch.Generator().manual_seed(seed))


def random_known(images: Tensor, spec: ImageSpec, seed: int, share: float = 0.3) -> Known:
    """A random share of the pixels of images, and random limits of the other pixels, which the images keep."""
    count = len(images)
    mask = torch.rand(count, spec.height, spec.width, generator=torch.Generator().manual_seed(seed)) < share
    low, high = (random_images(count, spec, seed + k) for k in (1, 2))
    return Known(images, mask, Interval(low.minimum(images), high.maximum(images)))


def extreme_images(spec: ImageSpec) -> Tensor:
    """Four images: black, white, a checkerboard of both, and noise; int64 (4, *spec.shape)."""
    places = torch.arange(spec.height)[:, None] + torch.arange(spec.width)
    board = (places % 2 * (spec.levels - 1)).expand(spec.shape)
    zeros = torch.zeros(spec.shape, dtype=torch.int64)
    return torch.stack([zeros, zeros + spec.levels - 1, board, random_images(1, spec, 0)[0]])


def all_images(spec: ImageSpec) -> Tensor:
    """All images of a tiny spec, int64 (levels ** dims, *spec.shape)."""
    return torch.cartesian_prod(*torch.arange(spec.levels).expand(spec.dims, -1)).view(-1, *spec.shape)


def randomized(module: Module, seed: int, size: float = 0.5) -> Module:
    """Converts the module, in place, to float64 and evaluation mode, and replaces its parameters by normal noise.

    `size` is the standard deviation of the noise. Random weights are needed because a network with its initial weights
    may ignore its input. Returns the module.
    """
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise) * size)
    return module.double().eval()


def sum_support(image: ImageSpec, of: str) -> SumSupport:
    """A support in which an image takes the place of the view: it contains all images with the same sums as that image.

    The sums run over 2×2 squares of each channel, or over the whole image if `of` is "everything".
    """
    rows, columns = torch.arange(image.height) // 2, torch.arange(image.width) // 2
    channels = torch.arange(image.channels)[:, None, None]
    squares = (channels * image.height + rows[:, None]) * image.width + columns
    number = torch.zeros_like(squares) if of == "everything" else squares.unique(return_inverse=True)[1]

    def ranges(view: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.zeros((len(view), int(number.max()) + 1), dtype=torch.int64)
        found.index_add_(1, number.flatten(), view.flatten(1).to(torch.int64))
        return found, found

    return SumSupport(image, lambda: (number, torch.tensor(1)), ranges)


class Between(Support):
    """A support of any intervals. Its view has the lower ends and then the upper ends as channels: (b, 2 · c, h, w)."""

    def __init__(self, image: ImageSpec) -> None:
        self.image = image

    def intervals(self, image: Tensor, view: Tensor) -> Interval:
        return Interval(*view.chunk(2, dim=1))


def between(image: ImageSpec, interval: Interval) -> GivenView:
    """Given views that restrict images to an interval of each sub-pixel, (b, c, h, w)."""
    return GivenView(Between(image), torch.cat([interval.low, interval.high], dim=1), restricted=True)


def random_features(module: nn.Module, image: ImageSpec, channels: int, count: int, seed: int) -> Tensor | None:
    """Normally distributed features for `count` images, with device and dtype of the weights. None for no channels."""
    noise = torch.randn(count, channels, image.height, image.width, generator=torch.Generator().manual_seed(seed))
    weight = next(module.parameters(), noise)
    return noise.to(weight.device, weight.dtype) if channels else None
