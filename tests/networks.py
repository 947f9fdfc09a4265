"""Small random networks and models, and the hypothesis strategies that draw them.

All are in float64 and evaluation mode, so that "the same" can mean the same and a property is not blurred by rounding.
"""

from __future__ import annotations

import itertools

import torch
from hypothesis import strategies as st
from torch import nn

from auxar.interfaces import ImageSpec
from auxar_pixelcnn.heads import LogisticMixtureHead, SoftmaxHead
from auxar_pixelcnn.networks import FullNetwork, LightNetwork

SEEDS = st.integers(0, 2**16)

# One row, one column, a single pixel, odd sides, narrower than any wavefront's lag, wider than several.
SIZES = st.one_of(
    st.sampled_from([(1, 1), (1, 6), (7, 1), (5, 7), (6, 2), (2, 9)]),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def randomized(module: nn.Module, seed: int):
    """The module with every parameter drawn anew, far from any initialisation at which some have no effect."""
    noise = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=noise))
    return module.double().eval()


def random_images(count, spec, seed=0):
    return torch.randint(spec.levels, (count, *spec.shape), generator=generator(seed))


def random_features(network, count, seed=0):
    """Features that suit the network, or None for one that takes none."""
    if not network.features_channels:
        return None
    shape = (count, network.features_channels, network.image.height, network.image.width)
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def all_images(spec):
    """Every image of a small spec, the last value changing fastest."""
    values = itertools.product(range(spec.levels), repeat=spec.dims)
    return torch.tensor(list(values)).view(-1, *spec.shape)


@st.composite
def specs(draw, sizes=SIZES, channels=(1, 3), levels=(2, 3, 16, 256)):
    height, width = draw(sizes)
    return ImageSpec(draw(st.sampled_from(channels)), height=height, width=width, levels=draw(st.sampled_from(levels)))


@st.composite
def heads(draw, image):
    if draw(st.booleans()):
        return LogisticMixtureHead(image, draw(st.integers(1, 3)))
    return SoftmaxHead(image)


@st.composite
def light_networks(draw, images=None, blocks=(1, 2, 3), features=(0, 2)):
    image = draw(specs() if images is None else images)
    network = LightNetwork(
        image,
        draw(heads(image)),
        filters=draw(st.integers(2, 5)),
        blocks=draw(st.sampled_from(blocks)),
        features_channels=draw(st.sampled_from(features)),
        dropout=0.5,
    )
    return randomized(network, draw(SEEDS))


@st.composite
def full_networks(draw, images=None, features=(0, 2)):
    image = draw(specs() if images is None else images)
    network = FullNetwork(
        image,
        draw(heads(image)),
        filters=draw(st.integers(2, 4)),
        nr_resnet=draw(st.integers(1, 2)),
        features_channels=draw(st.sampled_from(features)),
        dropout=0.5,
    )
    return randomized(network, draw(SEEDS))
