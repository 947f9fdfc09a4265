"""Integer twins of random networks."""

import torch
from torch import Tensor

from auxar.model import CausalNetwork
from auxar_integers.arithmetic import PARAMETERS
from auxar_integers.conversion import Converter, IntegerConfig
from auxar_integers.graph import IntegerNetwork
from auxar_integers.quantities import Quantity
from auxar_integers.tracing import Ranges
from helpers.causal_networks import random_features, random_images

FEATURE_BITS = 10


def integer_twin(
    network: CausalNetwork,
    widths: IntegerConfig | None = None,
    images: Tensor | None = None,
    features: Tensor | None = None,
) -> IntegerNetwork:
    """Returns the integer twin of a network, whose features have `FEATURE_BITS` bits after the binary point.

    The ranges of values are those of random images and, if they are given, of `images` with `features`, too.
    """
    ranges = Ranges(network)
    ranges.add(random_images(8, network.image), random_features(network, 8))
    if images is not None:
        ranges.add(images, features)
    levels = network.image.levels
    inputs = [Quantity("image", 1 / (levels - 1), levels - 1, network.image.channels + network.marks_pixels)]
    if network.features_channels:
        inputs.append(Quantity("features", 2.0**-FEATURE_BITS, 2**FEATURE_BITS * 8, network.features_channels))
    integers, _ = Converter(ranges, inputs, widths or IntegerConfig(), PARAMETERS).convert()
    head = network.head.integer_head()
    assert head is not None
    return IntegerNetwork(network, head, integers).eval()


def integer_features(network: CausalNetwork, count: int, seed: int = 0) -> Tensor | None:
    """Returns random integer features for the twin of a network, or None if it takes none."""
    features = random_features(network, count, seed)
    return None if features is None else torch.round(features * 2**FEATURE_BITS).clamp(-(2**13), 2**13)
