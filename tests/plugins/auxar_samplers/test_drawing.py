"""Tests that the native engine draws the same pixels and images as the heads, by free and by restricted decoders."""

import logging

import attrs
import pytest
import torch
from helpers.causal_networks import (
    CENTERING,
    RULES,
    SEEDS,
    generator,
    heads,
    knowns,
    needs_native,
    random_images,
    randomized,
    sample,
    specs,
    views_of,
)
from helpers.engines import fixed_support, native_pixels, pixels_by
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.model import (
    Adjustments,
    DrawSource,
    GivenView,
    ImageSpec,
    Interval,
    Known,
    RepeatedWalk,
    SampleRequest,
    SumSupport,
    Support,
)
from auxar.model.sources import by_place
from auxar.model.sum_support import SumWalk
from auxar.numerics.threads import threads
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn.networks import LightNetwork
from auxar_pyramid import PyramidView
from auxar_samplers import CachedSampler, RasterSampler, WavefrontSampler

pytestmark = needs_native


def sums_of_pixels(image, seed, *, together):
    """Returns a support with random ranges of weighted sums over each pixel or the whole image. Ranges may be empty."""
    noise = generator(seed)
    count = 1 if together else image.height * image.width
    number = torch.zeros(1, dtype=torch.int64) if together else torch.arange(count).view(1, image.height, image.width)
    weight = torch.randint(1, 7, (image.channels, 1, 1), generator=noise)
    most = int(weight.sum()) * image.levels * image.height * image.width // count

    def ranges(view):
        lowest = torch.randint(-most, most, (len(view), count), generator=generator(seed + 1))
        return lowest, lowest + torch.randint(-2, most, lowest.shape, generator=generator(seed + 2))

    return SumSupport(image, lambda: (number, weight), ranges)


@st.composite
def supports(draw, image, count):
    """Draws a support or None, views for it, and whether every pixel is a group of its own."""
    images = random_images(count, image, draw(SEEDS))
    found = views_of(image)
    kind = draw(st.sampled_from([None, "pixels", "image", *found]))
    if kind is None:
        return None, images, True
    if isinstance(kind, str):
        return sums_of_pixels(image, draw(SEEDS), together=kind == "image"), images, kind == "pixels"
    return kind.support, kind(images), not isinstance(kind, PyramidView)


def noise_of(head, image, count, seed, *, free=False):
    """Returns uniforms for each place, some of them as close to 0 or 1 as possible.

    Uniforms that choose a category stay further from 1, where the engines' cumulative sums differ by rounding.
    """
    noise = generator(seed)
    each = head.uniform_count if free else head.restricted_uniform_count
    shape = image.height * image.width + 1, count, each
    uniforms = torch.rand(shape, generator=noise, dtype=torch.float64).clamp_min(2.0**-53)
    edge = torch.rand(shape, generator=noise)
    uniforms = torch.where(edge < 0.02, 2.0**-53, torch.where(edge > 0.98, 1 - 2.0**-53, uniforms))
    categories = uniforms if isinstance(head, SoftmaxHead) else uniforms[..., :1] if free else uniforms[..., ::2]
    categories.clamp_(max=1 - 2.0**-30)
    return uniforms


@st.composite
def parameters_of(draw, head, rows):
    """Draws parameters of any size in float32 or float64. Intervals may lie far out in tails; scales may be extreme."""
    noise = generator(draw(SEEDS))
    found = torch.randn((rows, head.parameter_count), generator=noise, dtype=torch.float64)
    found *= draw(st.sampled_from([0.1, 1.0, 10.0, 1000.0]))
    if isinstance(head, LogisticMixtureHead):
        by_kind = found.view(rows, -1, head.components)
        by_kind[:, 1 + head.channels : 1 + 2 * head.channels] *= draw(st.sampled_from([0.01, 1.0]))
        by_kind[:, 1 + head.channels : 1 + 2 * head.channels] -= draw(st.sampled_from([0.0, 3.0, 8.0]))
    return found.to(draw(st.sampled_from([torch.float64, torch.float32])))


@attrs.frozen(eq=False)
class Case:
    """A pixel source and its input. Each step lists places that are drawn together; some may be outside the image.

    Pixels are restricted by the support unless `free`.
    """

    source: DrawSource
    support: Support | None
    views: torch.Tensor
    known: Known | None
    steps: list
    parameters: torch.Tensor
    free: bool = False

    def drawn(self, engine):
        """Draws all pixels by an engine; returns them and, for a support, the ranges that remain of its sums."""
        walk = None if self.support is None else self.support.walk(self.views, self.known)
        source = attrs.evolve(self.source, walk=walk, restricted=walk is not None and not self.free)
        outside = len(self.source.uniforms) - 1
        head = self.source.head
        assert isinstance(head, LogisticMixtureHead | SoftmaxHead)
        found = torch.zeros_like(self.source.uniforms[..., :1]).repeat(1, 1, head.channels)
        for places in self.steps:
            values = pixels_by(engine, source, places, self.parameters[places].flatten(0, 1))
            found[places] = values.double()
        if walk is None:
            return (found[:outside],)
        assert isinstance(walk, SumWalk)
        return found[:outside], walk.lowest[:-1], walk.highest[:-1]


EXTREME = st.sampled_from([100.0, 590.0, 720.0, 1e6, 1e300])
"""Reductions of scales that no number holds. Such scales are drawn from as the narrowest."""


@st.composite
def cases(draw, levels=(2, 3, 16, 256, 65536)):
    image = draw(specs(levels=levels))
    # Places are drawn together that may be neighbors, as no sampler draws them.
    alone = CENTERING.filter(lambda found: not found[1])
    head = draw(heads(image, alone)) if image.levels <= 256 else LogisticMixtureHead(image, draw(st.integers(1, 12)))
    count = draw(st.integers(1, 3))
    support, found, apart = draw(supports(image, count))
    known = draw(knowns(image, count))
    places = image.height * image.width
    order = torch.arange(places)
    if apart:
        order = torch.randperm(places, generator=generator(draw(SEEDS)))
    outside = torch.tensor([places])
    steps = [torch.cat([outside, outside, part]) for part in order.split(draw(st.integers(1, 9)) if apart else 1)]
    parameters = draw(parameters_of(head, (places + 1) * count)).view(places + 1, count, -1)
    if known is not None and draw(st.booleans()):
        ends = torch.stack([random_images(count, image, draw(SEEDS)) for _ in range(2)])
        known = attrs.evolve(known, limits=Interval(ends.amin(0), ends.amax(0)))
    limits = None
    if known is not None:
        limits = Interval(by_place(known.lowest()), by_place(known.highest(image.levels)))
    free = support is None or draw(st.booleans())
    uniforms = noise_of(head, image, count, draw(SEEDS), free=free)
    adjustments = draw(RULES).adjustments(0) if draw(st.booleans()) else Adjustments(reduction=draw(EXTREME))
    source = DrawSource(head, image.levels, adjustments, uniforms, limits)
    return Case(source, support, found, known, steps, parameters, free)


@settings(deadline=None, max_examples=60)
@given(case=cases(), count=st.integers(1, 3))
def test_native_draws_are_those_of_the_head(case, count):
    """The engines agree for all heads, levels, rules, intervals and known pixels, even for impossible intervals."""
    with threads(count):
        drawn = case.drawn("native")
    for expected, found in zip(case.drawn("torch"), drawn, strict=True):
        assert torch.equal(expected, found)
    assert drawn[0].min() >= 0
    assert drawn[0].max() < case.source.levels


@pytest.mark.parametrize(
    "rule", [Adjustments(), Adjustments(reduction=0.6, min_weight=0.05), Adjustments(centers=True)], ids=str
)
@pytest.mark.parametrize("levels", [2, 5, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_free_draws_of_every_kind(rule, levels, channels):
    """The engines agree for thousands of pixels, so that even a small difference between their formulas would show."""
    image = ImageSpec(channels, height=32, width=32, levels=levels)
    dark = fixed_support(image, 0, levels // 2)
    for head, support in [
        (LogisticMixtureHead(image, 4), None),
        (LogisticMixtureHead(image, 4, centered=True), dark),
        (SoftmaxHead(image), None),
    ]:
        parameters = torch.randn((1025, 3, head.parameter_count), generator=generator(0), dtype=torch.float64)
        source = DrawSource(head, levels, rule, noise_of(head, image, 3, 1, free=True))
        case = Case(source, support, random_images(3, image), None, [torch.arange(1024)], parameters, free=True)
        assert torch.equal(*(case.drawn(engine)[0] for engine in ("torch", "native")))


@settings(deadline=None, max_examples=20)
@given(case=cases(levels=(3, 256)), seed=SEEDS)
def test_what_is_not_a_number_is_drawn_as_something_possible(case, seed):
    broken = torch.rand(case.parameters.shape, generator=generator(seed)) < 0.3
    parameters = case.parameters.masked_fill(broken, [torch.nan, torch.inf, -torch.inf][seed % 3])
    drawn = [attrs.evolve(case, parameters=parameters).drawn(engine)[0] for engine in ("native", "torch")]
    for found in drawn:
        assert found.min() >= 0
        assert found.max() < case.source.levels
    assert isinstance(case.source.head, SoftmaxHead) or torch.equal(*drawn)


# Choice between the native library and PyTorch -----------------------------------------------------------------------


IMAGE = ImageSpec(1, height=2, width=2, levels=4)
SUPPORT = fixed_support(IMAGE, 1, 2)


class OtherHead(LogisticMixtureHead):
    """A subclass of a shipped head. Its formulas may differ, so the library must not draw for it."""


def network_of(head):
    """Returns a small network with this head."""
    return randomized(LightNetwork(IMAGE, head, filters=2, blocks=1, features_channels=0, dropout=0.0), 0)


@pytest.fixture
def asked(monkeypatch):
    """A list to which every call of `DrawSource.pixels` adds its number of places."""
    calls = []
    pixels = DrawSource.pixels

    def watched(self, places, parameters):
        calls.append(len(places))
        return pixels(self, places, parameters)

    monkeypatch.setattr(DrawSource, "pixels", watched)
    return calls


def test_sums_in_any_integers_are_drawn_natively():
    image = ImageSpec(1, height=1, width=2)
    expected = SumSupport(image, lambda: (torch.tensor(0), torch.tensor(1)), lambda view: (view.flatten(1),) * 2)
    groups = torch.tensor(0, dtype=torch.int16), torch.tensor(1, dtype=torch.uint8)
    narrow = SumSupport(image, lambda: groups, lambda view: (view.flatten(1).to(torch.int32),) * 2)
    head, view = LogisticMixtureHead(image, 2), torch.tensor([[[[300]]]])
    parameters, given = torch.zeros(2, 1, head.parameter_count), random_images(1, image)
    drawn = []
    for support in (expected, narrow):
        source = DrawSource(
            head, 256, Adjustments(), noise_of(head, image, 1, 0), None, support.walk(view), restricted=True
        )
        found, same = support.intervals(given, view), expected.intervals(given, view)
        assert torch.equal(found.low, same.low)
        assert torch.equal(found.high, same.high)
        drawn.append([native_pixels(source, torch.tensor([place]), parameters[0]) for place in (0, 1)])
        assert torch.stack(drawn[-1]).sum() == 300
    assert torch.equal(torch.stack(drawn[0]), torch.stack(drawn[1]))


class OtherSupport(SumSupport):
    """A support whose walk computes the intervals of the whole image again at each step."""

    def walk(self, view, known=None):
        return RepeatedWalk(self, view)


@pytest.mark.parametrize("sampler", [WavefrontSampler, CachedSampler])
@pytest.mark.parametrize(
    ("head", "support", "is_native"),
    [
        (LogisticMixtureHead(IMAGE, 2), None, True),
        (LogisticMixtureHead(IMAGE, 2), SUPPORT, True),
        (SoftmaxHead(IMAGE), None, True),
        (SoftmaxHead(IMAGE), SUPPORT, True),
        (OtherHead(IMAGE, 2), None, False),
        (OtherHead(IMAGE, 2), SUPPORT, False),
        (SoftmaxHead(IMAGE), OtherSupport(IMAGE, SUPPORT._groups, SUPPORT.ranges), False),
    ],
)
def test_the_library_draws_between_its_steps_and_calls_other_heads_and_walks_in_python(
    asked, caplog, sampler, head, support, is_native
):
    network = network_of(head)
    given = None if support is None else GivenView(support, torch.zeros(1, 1, 1, 1), True)
    request = SampleRequest((0,), given=given)
    expected = sample(RasterSampler(), network, request)
    for engine in ("auto", "native"):
        asked.clear()
        with caplog.at_level(logging.DEBUG, logger="auxar"):
            found = sample(sampler(engine), network, request)
        assert sum(asked) == (0 if is_native else 4)
        assert caplog.messages[-1] == "sampling with NativeEngine"
        assert torch.equal(found, expected)
