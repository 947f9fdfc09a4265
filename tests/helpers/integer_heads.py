"""Random heads with integer frequencies, their parameters and the rules to draw with."""

import torch
from hypothesis import strategies as st

from auxar.model import Adjustments, ImageSpec
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from helpers.causal_networks import generator

EXACT = Adjustments()
RULES = st.sampled_from(
    [
        EXACT,
        Adjustments(reduction=0.7, min_weight=0.05),
        Adjustments(centers=True, min_weight=0.05),
        Adjustments(centers=True, min_weight=0.9),
        Adjustments(temperature=0.5),
        Adjustments(temperature=0.001),
    ]
)


@st.composite
def heads(draw, levels=(2, 3, 16, 256, 65536), channels=(1, 3)):
    image = ImageSpec(draw(st.sampled_from(channels)), height=1, width=1, levels=draw(st.sampled_from(levels)))
    if image.levels <= 256 and draw(st.booleans()):
        return SoftmaxHead(image)
    return LogisticMixtureHead(image, draw(st.integers(1, 5)), centered=draw(st.booleans()))


def parameters_of(head, count, seed, spread):
    """Returns random integer parameters (count, parameter_count), and extreme ones among them."""
    noise = generator(seed)
    shape = count, head.parameter_count
    found = torch.round(torch.randn(shape, generator=noise, dtype=torch.float64) * spread * 2**20)
    extreme = torch.rand(shape, generator=noise) < 0.05
    return torch.where(extreme, found.sign() * 2**30, found.clamp(-(2**30), 2**30))
