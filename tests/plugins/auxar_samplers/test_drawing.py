"""Tests that the native engine draws the same pixels and images as the heads, by free and by restricted decoders."""

import logging

import attrs
import pytest
import torch
from helpers.causal_networks import (
    REQUESTS,
    RULES,
    SEEDS,
    full_networks,
    generator,
    growing_networks,
    heads,
    knowns,
    light_networks,
    needs_native,
    other_networks,
    random_features,
    random_images,
    randomized,
    sample,
    specs,
)
from helpers.engines import has_native_form, native_pixels, pixels_by
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
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
from auxar.model.support import SumWalk
from auxar.numerics import logistic
from auxar_bitplanes import BitplanesConfig, BitplanesView
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn.networks import LightNetwork
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers import AutoSampler, CachedSampler, RasterSampler, WavefrontSampler
from auxar_samplers.engines.choice import EngineChoice
from auxar_samplers.engines.native import library as compiling
from auxar_subsample import SubsampleConfig, SubsampleView

pytestmark = needs_native


def views(image):
    """Yields the shipped views that can be applied to the image."""
    made = [
        lambda: GrayscaleView(GrayscaleConfig(levels=min(image.levels, 5)), image),
        lambda: PyramidView(PyramidConfig(), image),
        lambda: BitplanesView(BitplanesConfig(), image),
        lambda: SubsampleView(SubsampleConfig(), image),
    ]
    for make in made:
        try:
            yield make()
        except UserError:
            continue


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
    found = list(views(image))
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


@st.composite
def cases(draw, levels=(2, 3, 16, 256, 65536)):
    image = draw(specs(levels=levels))
    head = draw(heads(image)) if image.levels <= 256 else LogisticMixtureHead(image, draw(st.integers(1, 12)))
    count = draw(st.integers(1, 3))
    support, found, apart = draw(supports(image, count))
    known = draw(knowns(image, count))
    places = image.height * image.width
    order = torch.arange(places)
    if apart:
        order = torch.randperm(places, generator=generator(draw(SEEDS)))
    outside = torch.tensor([places])
    steps = [torch.cat([outside, part, outside]) for part in order.split(draw(st.integers(1, 9)) if apart else 1)]
    parameters = draw(parameters_of(head, (places + 1) * count)).view(places + 1, count, -1)
    if known is not None and draw(st.booleans()):
        ends = torch.stack([random_images(count, image, draw(SEEDS)) for _ in range(2)])
        known = attrs.evolve(known, limits=Interval(ends.amin(0), ends.amax(0)))
    limits = None
    if known is not None:
        limits = Interval(by_place(known.lowest()), by_place(known.highest(image.levels)))
    free = support is None or draw(st.booleans())
    uniforms = noise_of(head, image, count, draw(SEEDS), free=free)
    source = DrawSource(head, image.levels, draw(RULES).adjustments(0), uniforms, limits)
    return Case(source, support, found, known, steps, parameters, free)


@settings(deadline=None, max_examples=60)
@given(case=cases())
def test_native_draws_are_those_of_the_head(case):
    """The engines agree for all heads, levels, rules, intervals and known pixels, even for impossible intervals."""
    for expected, found in zip(case.drawn("torch"), case.drawn("native"), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize(
    "rule",
    [Adjustments(), Adjustments(reduction=0.6, min_weight=0.05), Adjustments(centers=True)],
    ids=str,
)
@pytest.mark.parametrize("levels", [2, 5, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_free_draws_of_every_kind(rule, levels, channels):
    """The engines agree for thousands of pixels, so that even a small difference between their formulas would show."""
    image = ImageSpec(channels, height=32, width=32, levels=levels)
    dark = _Fixed(image, 0, levels // 2)
    for head, support in [
        (LogisticMixtureHead(image, 4), None),
        (LogisticMixtureHead(image, 4, centered=True), dark),
        (SoftmaxHead(image), None),
    ]:
        parameters = torch.randn((1025, 3, head.parameter_count), generator=generator(0), dtype=torch.float64)
        source = DrawSource(head, levels, rule, noise_of(head, image, 3, 1, free=True))
        case = Case(source, support, random_images(3, image), None, [torch.arange(1024)], parameters, free=True)
        assert torch.equal(*(case.drawn(engine)[0] for engine in ("torch", "native")))


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("noise", [2.0**-53, 1 - 2.0**-53])
def test_noise_next_to_the_ends_draws_the_first_and_the_last_value(noise, restricted):
    """Given uniforms next to 0 and 1, both engines draw the first and the last possible value."""
    image = ImageSpec(3, height=4, width=4, levels=256)
    for head in (LogisticMixtureHead(image, 3), SoftmaxHead(image)):
        parameters = torch.zeros(17, 1, head.parameter_count)
        count = head.restricted_uniform_count if restricted else head.uniform_count
        uniforms = torch.full((17, 1, count), noise, dtype=torch.float64)
        support = _Fixed(image, 60, 90) if restricted else None
        source = DrawSource(head, 256, Adjustments(), uniforms)
        case = Case(source, support, torch.zeros(1, 1, 1, 1), None, [torch.arange(16)], parameters)
        first, last = (60, 90) if restricted else (0, 255)
        for engine in ("torch", "native"):
            assert (case.drawn(engine)[0] == (first if noise < 0.5 else last)).all()


class _Fixed(SumSupport):
    """A support with the same interval for every sub-pixel."""

    def __init__(self, image, low, high):
        each = torch.arange(image.dims).view(image.shape), torch.tensor(1)

        def ranges(view):
            lowest = torch.full((len(view), image.dims), low)
            return lowest, lowest + high - low

        super().__init__(image, lambda: each, ranges)


@pytest.mark.parametrize("restricted", [False, True], ids=["free", "restricted"])
@pytest.mark.parametrize("channels", [1, 3])
def test_log_scales_are_clamped_like_those_of_the_likelihood_and_then_reduced(channels, restricted):
    """Draws are quantiles of logistic distributions. The restriction allows any value, so it changes no quantile.

    The limits of log-scales before the reduction are -7 and 20. With 65536 levels, even the narrowest component covers
    many values.
    """
    levels = 65536
    log_scales = torch.tensor([-1e9, -60, -9, -7, -6.5, -5, -2, 0, 2, 19, 20, 21, 23, 60, 1e9]).repeat(16).double()
    count = len(log_scales)
    image = ImageSpec(channels, height=1, width=count, levels=levels)
    head = LogisticMixtureHead(image, 2)
    noise = head.restricted_uniform_count if restricted else head.uniform_count
    uniforms = torch.rand((count + 1, 1, noise), generator=generator(0), dtype=torch.float64)
    means = torch.rand((count, channels), generator=generator(1), dtype=torch.float64) - 0.5
    couplings = torch.randn((count, head.couplings), generator=generator(2), dtype=torch.float64)
    parameters = torch.zeros((count + 1, 1, head.parameter_count), dtype=torch.float64)
    by_kind = parameters.view(count + 1, -1, 2)
    # The first component has a share of e⁻⁸⁰⁰.
    by_kind[:, 0] = torch.tensor([-400, 400])
    by_kind[:count, 1:, 1] = torch.cat([means, log_scales[:, None].expand(-1, channels), couplings], dim=1)
    support = _Fixed(image, 0, levels - 1) if restricted else None
    numbers = uniforms[:count, 0, 1::2] if restricted else uniforms[:count, 0, 1:]
    for reduction in (0.0, 0.5, 5.0, 1000.0):
        source = DrawSource(head, levels, Adjustments(reduction=reduction), uniforms)
        case = Case(source, support, torch.zeros(1, 1, 1, 1), None, [torch.arange(count)], parameters)
        points = means + (log_scales.clamp(-7, 20) - reduction).exp()[:, None] * (numbers / (1 - numbers)).log()
        for engine in ("torch", "native"):
            drawn = case.drawn(engine)[0][:, 0]
            earlier = drawn * 2 / (levels - 1) - 1
            expected = points.clone()
            for number, (channel, before) in enumerate([(1, 0), (2, 0), (2, 1)][: head.couplings]):
                expected[:, channel] += couplings[:, number].tanh() * earlier[:, before]
            expected = ((expected + 1) * (levels - 1) / 2 + 0.5).floor().clamp(0, levels - 1)
            # Near the middle between two values, rounding errors decide which of them is drawn.
            assert (drawn - expected).abs().max() <= 1
            assert (drawn - expected).abs().sum() <= 4


@pytest.mark.parametrize("adjustments", [Adjustments(), Adjustments(centers=True)], ids=["exact", "centers"])
@pytest.mark.parametrize("levels", [2, 5, 256, 65536])
def test_intervals_of_every_kind(adjustments, levels):
    """The engines agree for intervals of one value, of all values, at both ends and in the middle.

    Some components are so far away that the interval has a mass of less than e⁻¹⁰⁰⁰.
    """
    image = ImageSpec(3, height=4, width=6, levels=levels)
    head = LogisticMixtureHead(image, 2, centered=levels > 2)
    ends = sorted({0, 1, levels // 2, levels - 2, levels - 1})
    far = []
    for low, high in ((low, high) for low in ends for high in ends if low <= high):
        for mean in (-1e4, -30.0, -1.1, 0.0, 0.5, 1.1, 30.0, 1e4):
            parameters = 0.1 * torch.randn((25, 1, head.parameter_count), generator=generator(0), dtype=torch.float64)
            parameters.view(25, -1, 2)[:, 1:4] += mean
            parameters.view(25, -1, 2)[:, 4:7] -= 2
            source = DrawSource(head, levels, adjustments, noise_of(head, image, 1, 1))
            steps = [torch.arange(24)]
            case = Case(source, _Fixed(image, low, high), torch.zeros(1, 1, 1, 1), None, steps, parameters)
            expected, found = case.drawn("torch")[0], case.drawn("native")[0]
            assert torch.equal(expected, found)
            assert found.min() >= low
            assert found.max() <= high
            bounds = torch.tensor(low), torch.tensor(high), torch.tensor(mean).double(), torch.tensor(-2.0).double()
            far.append(logistic.log_interval_mass(*bounds, levels))
    assert min(far) < -1000
    assert max(far) == 0


@settings(deadline=None, max_examples=12)
@given(case=cases(levels=(3, 256)), seed=SEEDS)
def test_what_is_not_a_number_is_drawn_as_something_possible(case, seed):
    broken = torch.rand(case.parameters.shape, generator=generator(seed)) < 0.3
    parameters = case.parameters.masked_fill(broken, [torch.nan, torch.inf, -torch.inf][seed % 3])
    for engine in ("native", "torch"):
        found = attrs.evolve(case, parameters=parameters).drawn(engine)[0]
        assert found.min() >= 0
        assert found.max() < case.source.levels


@settings(deadline=None, max_examples=12)
@given(case=cases(levels=(3, 256)), reduction=st.sampled_from([100.0, 590.0, 720.0, 1e6, 1e300]))
def test_scales_that_no_number_holds_are_drawn_from_as_the_narrowest(case, reduction):
    case = attrs.evolve(case, source=attrs.evolve(case.source, adjustments=Adjustments(reduction=reduction)))
    expected, found = (case.drawn(engine)[0] for engine in ("torch", "native"))
    assert torch.equal(found, expected)
    assert found.min() >= 0
    assert found.max() < case.source.levels


@pytest.mark.parametrize("what", ["means", "log-scales"])
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("restricted", [False, True])
def test_what_is_not_finite_is_drawn_alike(what, number, restricted):
    image = ImageSpec(3, height=8, width=8, levels=256)
    head, view = LogisticMixtureHead(image, 4), PyramidView(PyramidConfig(), image)
    parameters = torch.randn((65, 3, head.parameter_count), generator=generator(0), dtype=torch.float64)
    kind = parameters.view(65, 3, 10, 4)[:, :, 1:4] if what == "means" else parameters.view(65, 3, 10, 4)[:, :, 4:7]
    kind[torch.rand(kind.shape, generator=generator(1)) < 0.2] = number
    support = view.support if restricted else None
    source = DrawSource(head, 256, Adjustments(), noise_of(head, image, 3, 2, free=not restricted))
    steps = [torch.tensor([place]) for place in range(64)]
    case = Case(source, support, view(random_images(3, image)), None, steps, parameters)
    expected, found = (case.drawn(engine)[0] for engine in ("torch", "native"))
    assert torch.equal(expected, found)


@pytest.mark.parametrize("walk", [None, "sums"])
def test_it_draws_whatever_the_default_device_is(walk):
    head = LogisticMixtureHead(IMAGE, 2)
    support = _Fixed(IMAGE, 1, 2)
    parameters, places = torch.zeros(4, head.parameter_count), torch.arange(4)
    source, other = (source_of(head, walk and support.walk(torch.zeros(1, 1, 1, 1))) for _ in range(2))
    expected = other.pixels(places, parameters)
    with torch.device("meta"):
        assert torch.equal(native_pixels(source, places, parameters), expected)


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("make", [lambda image: LogisticMixtureHead(image, 3), SoftmaxHead])
def test_the_number_of_threads_changes_nothing(make, restricted):
    """The drawn pixels do not depend on the number of threads, with few or many pixels for each thread."""
    image = ImageSpec(3, height=8, width=8)
    head, view = make(image), GrayscaleView(GrayscaleConfig(), image)
    support = view.support if restricted else None
    source = DrawSource(head, 256, Adjustments(), noise_of(head, image, 3, 0, free=not restricted))
    parameters = torch.randn((65, 3, head.parameter_count), generator=generator(1))
    steps = [torch.tensor([*range(start, stop), 64, 64]) for start, stop in ((0, 2), (2, 14), (14, 64))]
    case = Case(source, support, view(random_images(3, image)), None, steps, parameters)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(case.drawn("native"))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(first, second) for first, second in zip(found[0], other, strict=True))


# Whole images --------------------------------------------------------------------------------------------------------


def assert_one_image(samplers, network, request, data, seed):
    """Asserts that all samplers draw the same image given each view."""
    count = len(request.numbers)
    known = data.draw(knowns(network.image, count))
    features = random_features(network, count, seed)
    for view in views(network.image):
        given = view(random_images(count, network.image, seed))
        restricted = attrs.evolve(request, known=known, given=GivenView(view.support, given, True))
        found = [sample(sampler, network, restricted, features=features) for sampler in samplers]
        for other in found[1:]:
            assert torch.equal(found[0], other)
        if known is None:
            assert torch.equal(view(found[0]), given)


SAMPLERS = [RasterSampler(), CachedSampler("native"), AutoSampler("native")]


@settings(deadline=None, max_examples=10)
@given(network=st.one_of(light_networks(), other_networks()), request=REQUESTS, data=st.data(), seed=SEEDS)
def test_a_sampler_draws_the_raster_samplers_image(network, request, data, seed):
    samplers = [*SAMPLERS, WavefrontSampler("native"), WavefrontSampler("torch")]
    assert_one_image(samplers, network, request, data, seed)


@settings(deadline=None, max_examples=7)
@given(network=st.one_of(full_networks(), growing_networks()), request=REQUESTS, data=st.data(), seed=SEEDS)
def test_so_it_does_for_networks_of_several_resolutions(network, request, data, seed):
    assert_one_image(SAMPLERS, network, request, data, seed)


# Choice between the native library and PyTorch -----------------------------------------------------------------------


IMAGE = ImageSpec(1, height=2, width=2, levels=4)
SUPPORT = _Fixed(IMAGE, 1, 2)
WALK = SUPPORT.walk(torch.zeros(1, 1, 1, 1))


class OtherHead(LogisticMixtureHead):
    """A subclass of a shipped head. Its formulas may differ, so the library must not draw for it."""


def source_of(head=None, walk=WALK):
    head = head or LogisticMixtureHead(IMAGE, 2)
    return DrawSource(
        head, 4, Adjustments(), noise_of(head, IMAGE, 1, 0, free=walk is None), None, walk, restricted=walk is not None
    )


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


@pytest.mark.parametrize("restricted", [False, True], ids=["free", "restricted"])
def test_a_draw_is_native_where_the_engine_is(asked, restricted):
    """The native engine never calls the source in Python: the library draws the pixels between its steps."""
    given = GivenView(SUPPORT, torch.zeros(1, 1, 1, 1), True) if restricted else None
    request = SampleRequest((0,), given=given)
    for head in (LogisticMixtureHead(IMAGE, 2), SoftmaxHead(IMAGE)):
        for sampler in (WavefrontSampler, CachedSampler):
            for engine in ("auto", "native"):
                sample(sampler(engine), network_of(head), request)
                assert asked == []
            sample(sampler("torch"), network_of(head), request)
            assert len(asked) >= 4
            asked.clear()


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


def test_a_sampler_hands_its_engine_on(monkeypatch):
    run, asked = EngineChoice.run, []

    def spy(self, program, source):
        asked.append((self.name, source))
        run(self, program, source)

    monkeypatch.setattr(EngineChoice, "run", spy)
    network = network_of(SoftmaxHead(IMAGE))
    request = SampleRequest((0,), given=GivenView(SUPPORT, torch.zeros(1, 1, 1, 1), True))
    sources = [DrawSource.of(network, request) for _ in range(4)]
    samplers = (RasterSampler(), CachedSampler("torch"), WavefrontSampler("native"), AutoSampler())
    for sampler, source in zip(samplers, sources, strict=True):
        sampler.sample(network, None, source)
    assert asked == list(zip(("torch", "native", "auto"), sources[1:], strict=True))


class OtherSupport(SumSupport):
    """A support whose walk computes the intervals of the whole image again at each step."""

    def walk(self, view, known=None):
        return RepeatedWalk(self, view)


@pytest.mark.parametrize("engine", ["auto", "native"])
def test_anything_else_is_drawn_by_pytorch(asked, caplog, engine):
    """With other heads and walks, the engines `auto` and `native` call the source in Python at each step."""
    view = torch.zeros(1, 1, 1, 1)
    repeated = OtherSupport(IMAGE, SUPPORT._groups, SUPPORT.ranges)
    for head, own in [
        (OtherHead(IMAGE, 2), None),
        (OtherHead(IMAGE, 2), GivenView(SUPPORT, view, True)),
        (SoftmaxHead(IMAGE), GivenView(repeated, view, True)),
    ]:
        network, request = network_of(head), SampleRequest((0,), given=own)
        source = DrawSource.of(network, request)
        assert not has_native_form(source)
        for sampler in (WavefrontSampler, CachedSampler):
            asked.clear()
            with caplog.at_level(logging.DEBUG, logger="auxar"):
                found = sample(sampler(engine), network, request)
            assert sum(asked) == 4
            assert caplog.messages[-1] == "sampling with NativeEngine"
            assert torch.equal(found, sample(RasterSampler(), network, request))


def test_without_a_compiler_pytorch_draws(asked, monkeypatch):
    monkeypatch.setattr(compiling, "attempt", lambda: "there is no C++ compiler")
    network = network_of(SoftmaxHead(IMAGE))
    for own in (None, GivenView(SUPPORT, torch.zeros(1, 1, 1, 1), True)):
        request = SampleRequest((0,), given=own)
        found = sample(WavefrontSampler("auto"), network, request)
        assert sum(asked) >= 4
        asked.clear()
        assert torch.equal(found, sample(RasterSampler(), network, request))
        asked.clear()
