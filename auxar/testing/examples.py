"""Images, specs and weights to look for broken laws with."""

from __future__ import annotations

import itertools
from typing import Any, TypeVar

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from auxar.interfaces import DrawRule, ImageSpec

Module = TypeVar("Module", bound=nn.Module)

SEEDS = st.integers(0, 2**16)
SCALES = st.sampled_from([0.1, 0.5, 1.0])
"""Scales of random weights: from almost linear networks to strongly nonlinear ones."""
RULES = st.sampled_from([DrawRule(), DrawRule("map"), DrawRule("reduced", reduction=0.6)])

SIZES = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (2, 4), (4, 2), (4, 4), (5, 7), (6, 6), (8, 8), (12, 12), (16, 16))
SPECS = [
    ImageSpec(channels, height=height, width=width, levels=levels)
    for (height, width), channels, levels in itertools.product(SIZES, (1, 3), (2, 3, 16, 256))
]
"""Smallest first, which is where counterexamples shrink to."""
NETWORK_SPECS = [
    ImageSpec(channels, height=height, width=width, levels=levels)
    for (height, width), channels, levels in [
        ((1, 1), 1, 2),
        ((2, 3), 1, 4),
        ((3, 2), 3, 3),
        ((4, 4), 1, 16),
        ((4, 4), 3, 256),
        ((5, 7), 3, 256),
        ((8, 8), 3, 256),
        ((16, 16), 3, 256),
        ((32, 32), 3, 256),
    ]
]
"""Networks are slower than views: fewer of them."""
TINY_SPECS = [
    ImageSpec(channels, height=height, width=width, levels=levels)
    for (height, width), channels, levels in [
        ((1, 1), 1, 5),
        ((1, 1), 3, 3),
        ((2, 2), 1, 3),
        ((2, 1), 3, 2),
        ((1, 1), 3, 5),
        ((3, 3), 1, 2),
        ((2, 4), 1, 2),
        ((4, 2), 1, 2),
    ]
]
"""Whose images can all be counted."""


def images(spec: ImageSpec, count: int = 2) -> st.SearchStrategy[Tensor]:
    """int64, (count, *spec.shape): mostly one value and a few others, and now and then noise."""
    values = st.one_of(st.sampled_from([0, spec.levels - 1]), st.integers(0, spec.levels - 1))
    drawn: Any = arrays(np.int64, (count, *spec.shape), elements=values, fill=values)
    noise = SEEDS.map(lambda seed: random_images(count, spec, seed).numpy())
    return st.one_of(drawn, noise).map(torch.from_numpy)


def random_images(count: int, spec: ImageSpec, seed: int) -> Tensor:
    """Uniform noise: int64, (count, *spec.shape)."""
    return torch.randint(spec.levels, (count, *spec.shape), generator=torch.Generator().manual_seed(seed))


def extreme_images(spec: ImageSpec) -> Tensor:
    """All black, all white, a checkerboard of both, noise: int64, (4, *spec.shape)."""
    places = torch.arange(spec.height)[:, None] + torch.arange(spec.width)
    board = (places % 2 * (spec.levels - 1)).expand(spec.shape)
    zeros = torch.zeros(spec.shape, dtype=torch.int64)
    return torch.stack([zeros, zeros + spec.levels - 1, board, random_images(1, spec, 0)[0]])


def all_images(spec: ImageSpec) -> Tensor:
    """Every image of a tiny spec: int64, (levels ** dims, *spec.shape)."""
    values = torch.arange(spec.levels).expand(spec.dims, -1)
    return torch.cartesian_prod(*values).view(-1, *spec.shape)


def randomized(module: Module, seed: int, size: float = 0.5) -> Module:
    """The module in float64 and evaluation mode, with every parameter drawn from a normal distribution.

    As it was initialized, a network may well ignore its input.
    """
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise) * size)
    return module.double().eval()
