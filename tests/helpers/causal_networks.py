"""Small random networks and models, Hypothesis strategies for them, and helpers for tests of samplers.

All networks are in float64 and evaluation mode, so that rounding does not hide differences.
"""

import contextlib

import attrs
import pytest
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from auxar.errors import UserError
from auxar.model import Ancestral, CausalNetwork, DrawSource, ImageSpec, Known, SampleRequest
from auxar.testing import examples
from auxar_bitplanes import BitplanesConfig, BitplanesView
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads import logistic_mixture, softmax
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_layers.convolutions import CausalConv2d, Dropout, Pointwise, UpsamplingConv2d
from auxar_layers.functional import concat_elu, gate
from auxar_pixelcnn.networks import FullNetwork, LightNetwork
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_rules import Map, Reduced, Tempered
from auxar_samplers import AutoSampler, CachedSampler, RasterSampler, WavefrontSampler
from auxar_samplers.engines import UnavailableError
from auxar_samplers.engines.native.library import library
from auxar_subsample import SubsampleConfig, SubsampleView

SEEDS = st.integers(0, 2**16)

# The fixed sizes have one row, one column, a single pixel, odd sides, or a width below or above the wavefront's lag.
SIZES = st.one_of(
    st.sampled_from([(1, 1), (1, 6), (7, 1), (5, 7), (6, 2), (2, 9)]), st.tuples(st.integers(1, 6), st.integers(1, 6))
)

RULES = st.sampled_from([Ancestral(), Reduced(0.6), Map(0), Map(0.9), Tempered(0.7)])
NUMBERS = st.lists(st.integers(0, 10**6), min_size=1, max_size=4).map(tuple)
REQUESTS = st.builds(SampleRequest, NUMBERS, SEEDS, RULES, st.integers(0, 3))

# The shipped heads as options of networks, by name.
HEADS = {
    "logistic_mixture": logistic_mixture(2),
    "neighbors": logistic_mixture(5, neighbors=True),
    "softmax": softmax(),
}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def randomized(module: nn.Module, seed: int):
    """Returns the module with random parameters, since some parameters have no effect at their initial values."""
    return examples.randomized(module, seed, 1.0)


def random_images(count, spec, seed=0):
    return torch.randint(spec.levels, (count, *spec.shape), generator=generator(seed))


def random_features(network, count, seed=0):
    """Returns random features for the network, or None if it takes none."""
    if not network.features_channels:
        return None
    shape = (count, network.features_channels, network.image.height, network.image.width)
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


@st.composite
def specs(draw, sizes=SIZES, channels=(1, 3), levels=(2, 3, 16, 256)):
    height, width = draw(sizes)
    return ImageSpec(draw(st.sampled_from(channels)), height=height, width=width, levels=draw(st.sampled_from(levels)))


CENTERING = st.sampled_from([(False, False), (True, False), (True, True)])
"""Values of `centered` and `neighbors`."""


@st.composite
def heads(draw, image, centering=CENTERING):
    if draw(st.booleans()):
        centered, neighbors = draw(centering)
        return LogisticMixtureHead(image, draw(st.integers(1, 5)), centered=centered, neighbors=neighbors)
    return SoftmaxHead(image)


@st.composite
def pixelcnns(draw, /, kind, images, features, **options):
    """Networks of one of the two shipped classes, with options of its own."""
    image = draw(specs() if images is None else images)
    network = kind(
        image,
        draw(heads(image)),
        features_channels=draw(st.sampled_from(features)),
        dropout=0.5,
        kernel=draw(st.sampled_from([2, 3])),
        **{name: draw(values) for name, values in options.items()},
    )
    return randomized(network, draw(SEEDS))


def light_networks(images=None, blocks=(1, 2, 3), features=(0, 2)):
    sizes = {"filters": st.integers(2, 5), "blocks": st.sampled_from(blocks)}
    return pixelcnns(LightNetwork, images, features, **sizes)


def full_networks(images=None, features=(0, 2)):
    return pixelcnns(FullNetwork, images, features, filters=st.integers(2, 4), nr_resnet=st.integers(1, 2))


class OtherNetwork(CausalNetwork):
    """A third-party network of shipped layers: one stream, other tap shapes, and a pointwise layer before any shift. A
    layer and a function read the same value of the rows above."""

    def __init__(self, image, head, first, second, features_channels, width=4):
        super().__init__()
        self.image = image
        self.head = head
        self.features_channels = features_channels
        self.pixels = Pointwise([image.channels], width)
        self.above = CausalConv2d(width, 2 * width, *first)
        self.mix = Pointwise([width], 2 * width)
        self.left = CausalConv2d(width, width, (0, 0), (-3, -1))
        self.hidden = CausalConv2d(width, 2 * width, **second, normalized=False)
        self.diagonal = CausalConv2d(width, width, (2, 2), (2, 2))
        self.dropout = Dropout(0.5)
        self.side = Pointwise([width, *([features_channels] if features_channels else [])], width, activation=True)
        self.out = Pointwise([2 * width], head.parameter_count)

    def forward(self, image, features=None):
        pixels = torch.tanh(self.pixels(image))
        above = gate(self.above(pixels))
        start = functional.relu(self.left(pixels)) + above
        hidden = gate(self.hidden(start) + self.mix(above)) - torch.sigmoid(self.diagonal(pixels))
        mixed = self.side(hidden) if features is None else self.side(hidden, features)
        return self.out(concat_elu(self.dropout(mixed) * start))


@st.composite
def other_networks(draw):
    image = draw(specs())
    columns = st.integers(-3, 3)
    left, right = sorted(draw(st.tuples(columns, columns)))
    first = draw(st.sampled_from([((1, 3), (-2, 2)), ((1, 1), (3, 3)), ((2, 3), (-1, 4)), ((1, 2), (left, right))]))
    second = draw(
        st.sampled_from(
            [
                {"above": (0, 2), "columns": (-2, 0)},
                {"above": (0, 0), "columns": (-4, 0)},
                {"above": (1, 2), "columns": (0, 3)},
                {"above": (0, 1), "columns": (-1, 2), "last": 0},
                {"above": (0, 2), "columns": (-2, 3), "last": -1},
                {"above": (0, 0), "columns": (-3, 1), "last": 0},
                {"above": (0, 2), "columns": (-3, -1), "last": -2},
            ]
        )
    )
    network = OtherNetwork(image, draw(heads(image)), first, second, draw(st.sampled_from([0, 2])))
    return randomized(network, draw(SEEDS))


class GrowingNetwork(CausalNetwork):
    """A third-party network of several resolutions, which need not be multiples of each other."""

    def __init__(self, image, head, factors, overlap, features_channels, width=3):
        super().__init__()
        self.image = image
        self.head = head
        self.features_channels = features_channels
        factor, other = factors
        self.pixels = Pointwise([image.channels], width)
        self.above = CausalConv2d(width, width, (1, 2), (-1, 2))
        self.left = CausalConv2d(width, width, (0, 0), (-2, -1))
        self.shrink = CausalConv2d(2 * width, 2 * width, (0, 2), (-3, 0), stride=factor)
        self.shrink_pixels = CausalConv2d(width, 2 * width, (0, 1), (-2, -1), stride=factor)
        self.shrink_rows = CausalConv2d(width, width, (0, 3), (-1, 2), stride=other)
        self.shrink_features = CausalConv2d(features_channels or 1, width, (0, 1), (-1, 1), stride=factor)
        self.coarse = CausalConv2d(width, width, (0, 1), (-1, 0))
        self.coarse_rows = CausalConv2d(width, width, (0, 1), (-2, 1))
        self.grow = UpsamplingConv2d(width, width, factor=factor)
        self.grow_rows = UpsamplingConv2d(width, width, factor=other, overlap=overlap)
        self.side = Pointwise([width, width, *([features_channels] if features_channels else [])], width)
        self.out = Pointwise([2 * width], head.parameter_count)

    def forward(self, image, features=None):
        size = self.image.shape[1:]
        pixels = torch.tanh(self.pixels(image))
        above = self.above(pixels)
        start = torch.relu(self.left(pixels * torch.sigmoid(above))) + 0.5 * above
        coarse = gate(self.shrink(concat_elu(start)) + self.shrink_pixels(pixels))
        if features is not None:
            coarse = coarse * self.shrink_features(features)
        grown = self.grow(self.coarse(coarse), *size)
        rows = self.grow_rows(self.coarse_rows(torch.tanh(self.shrink_rows(above))), *size)
        mixed = self.side(grown, rows) if features is None else self.side(grown, rows, features)
        return self.out(concat_elu(torch.tanh(mixed) * start))


@st.composite
def growing_networks(draw, factors=((2, 2), (3, 3), (2, 4), (4, 2), (1, 2), (2, 3), (3, 2))):
    image = draw(specs())
    overlap = draw(st.sampled_from([(0, 0), (1, 0), (0, 1), (2, 3)]))
    features = draw(st.sampled_from([0, 2]))
    return randomized(
        GrowingNetwork(image, draw(heads(image)), draw(st.sampled_from(factors)), overlap, features), draw(SEEDS)
    )


NETWORKS = {
    "light": ((WavefrontSampler, CachedSampler, AutoSampler), light_networks()),
    "other": ((WavefrontSampler, CachedSampler, AutoSampler), other_networks()),
    "full": ((CachedSampler, AutoSampler), full_networks()),
    "growing": ((CachedSampler, AutoSampler), growing_networks()),
}
"""Kinds of networks: the samplers that draw them with engines, and a strategy."""


def views_of(image):
    """Returns the shipped views that can be applied to the image."""
    made = [
        lambda: GrayscaleView(GrayscaleConfig(levels=min(image.levels, 5)), image),
        lambda: PyramidView(PyramidConfig(), image),
        lambda: BitplanesView(BitplanesConfig(), image),
        lambda: SubsampleView(SubsampleConfig(), image),
    ]
    found = []
    for make in made:
        with contextlib.suppress(UserError):
            found.append(make())
    return found


@st.composite
def masks(draw, image, count):
    """Draws a mask of known pixels, shape (count, height, width): none, some, the first rows, one or all."""
    shape = count, image.height, image.width
    kind = draw(st.sampled_from(["none", "some", "first rows", "one", "all"]))
    mask = torch.full(shape, kind == "all")
    if kind == "some":
        mask = torch.rand(shape, generator=generator(draw(SEEDS))) < draw(st.sampled_from([0.2, 0.5, 0.9]))
    if kind == "first rows":
        mask[:, : draw(st.integers(1, image.height))] = True
    if kind == "one":
        mask[:, draw(st.integers(0, image.height - 1)), draw(st.integers(0, image.width - 1))] = True
    return mask


@st.composite
def knowns(draw, image, count):
    """Draws known pixels, with values out of range at the unknown places, or None."""
    if draw(st.booleans()):
        return None
    mask = draw(masks(image, count))
    values = random_images(count, image, draw(SEEDS))
    return Known(values.where(mask[:, None], draw(st.sampled_from([-1, 10**6]))), mask)


def sample(sampler, network, request, seed=0, features=None, known=None):
    if features is None:
        features = random_features(network, len(request.numbers), seed)
    if known is not None:
        request = attrs.evolve(request, known=known)
    return sampler.sample(network, features, DrawSource.of(network, request))


# Engines -------------------------------------------------------------------------------------------------------------


def reason_to_skip():
    try:
        library()
    except UnavailableError as error:
        return f"the native engine does not work here: {error}"
    return ""


needs_native = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "it works")
ENGINES = ["torch", pytest.param("native", marks=needs_native)]
WORKING_ENGINES = ["torch", *([] if needs_native.args[0] else ["native"])]
SAMPLERS = {
    "raster": RasterSampler(),
    **{f"wavefront-{engine}": WavefrontSampler(engine=engine) for engine in WORKING_ENGINES},
    **{f"cached-{engine}": CachedSampler(engine=engine) for engine in WORKING_ENGINES},
}


# The distribution of drawn images ------------------------------------------------------------------------------------


def image_numbers(images, levels):
    """Returns the index of each image in `all_images`."""
    values = images.flatten(1)
    return (values * levels ** torch.arange(values.shape[1] - 1, -1, -1)).sum(1)


def chi_square(counts, log_probs, total):
    """Returns the chi-square statistic and its degrees of freedom. Cells with an expected count below 8 are merged."""
    expected = log_probs.exp().flatten() * total
    rare = expected < 8
    counts = torch.cat([counts.flatten()[~rare], counts.flatten()[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]]).clamp_min(1)
    return ((counts - expected) ** 2 / expected).sum().item(), int((~rare).sum())


def assert_follows(counts, log_probs, total=4000):
    statistic, freedom = chi_square(counts, log_probs, total)
    assert freedom >= 5
    # Wilson & Hilferty's approximation of the quantile that a correct sampler exceeds with probability 1e-5.
    assert statistic < freedom * (1 - 2 / (9 * freedom) + 4.265 * (2 / (9 * freedom)) ** 0.5) ** 3
