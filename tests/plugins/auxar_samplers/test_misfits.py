"""Tests that sources that do not fit the network are refused, since the native library would read invalid memory."""

import attrs
import pytest
import torch
from helpers.causal_networks import ENGINES, needs_native
from torch.nn.functional import silu

import auxar
from auxar.errors import UserError
from auxar.model import DrawSource, ForceSource, GivenView, ImageSpec, Interval, PixelSource, SampleRequest, SumSupport
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn.networks import LightNetwork
from auxar_samplers import CachedSampler, RasterSampler, WavefrontSampler
from auxar_samplers.compiler.tracer import FUNCTIONS
from auxar_samplers.engines.native import engine as native

IMAGE = ImageSpec(height=5, width=5)
SAMPLERS = [WavefrontSampler, CachedSampler]
REQUEST = SampleRequest((0, 1))


def network(image=IMAGE, components=3, head=None):
    torch.manual_seed(0)
    head = head or LogisticMixtureHead(image, components)
    return LightNetwork(image, head, filters=4, blocks=1, features_channels=0, dropout=0.0)


def softmax_network():
    return network(head=SoftmaxHead(IMAGE))


def forced(image):
    return ForceSource(torch.full((2, *image.shape), image.levels - 1), image)


def drawn(**changes):
    return attrs.evolve(DrawSource.of(network(), REQUEST), **changes)


def limits(low, high):
    return Interval(*(torch.full((26, 2, 3), end) for end in (low, high)))


def restricted(number, weight, views=2):
    """Returns a source restricted by sums over each pixel's channels, or over groups with invalid numbers."""
    numbers = torch.arange(25).view(1, 5, 5) * number

    def ranges(view):
        return torch.zeros(len(view), 25, dtype=torch.int64), torch.full((len(view), 25), 700)

    support = SumSupport(IMAGE, lambda: (numbers, torch.tensor(weight)), ranges)
    given = GivenView(support, torch.zeros(views, 1, 1, 1, dtype=torch.int64), True)
    return DrawSource.of(network(), attrs.evolve(REQUEST, given=given))


MISFITS = {
    "an image of fewer channels": (lambda: forced(ImageSpec(1, height=5, width=5)), "got (torch.int64, (26, 2, 1)"),
    "an image of more levels": (lambda: forced(ImageSpec(height=5, width=5, levels=2**20)), "must be 0 … 255, got"),
    "another head": (lambda: DrawSource.of(softmax_network(), REQUEST), "of a pixel must be 30, got 768"),
    "other levels": (lambda: drawn(levels=2**20), "the number of levels must be 256, got 1048576"),
    "too little noise": (lambda: drawn(uniforms=torch.rand(26, 2, 1, dtype=torch.float64)), "numbers must be"),
    "noise of another type": (lambda: drawn(uniforms=torch.rand(26, 2, 4)), "must be (torch.float64, (26, 2, 4), "),
    "limits out of range": (lambda: drawn(limits=limits(0, 2**40)), "the limits must be 0 … 255, got"),
    "too few limits": (lambda: drawn(limits=limits(0, 9).of(slice(1))), "of the limits must be"),
    "too few views": (lambda: restricted(1, 1, views=1), "the sums must be (torch.int64, (26, 2), 'cpu'), got"),
    "a sum that counts nothing": (lambda: restricted(1, 0), "the weights in sums must be 1 …, got 0 … 1"),
    "a group that is not there": (lambda: restricted(999, 1), "the group numbers must be 0 … 25, got"),
}


@needs_native
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("what", MISFITS)
def test_a_source_that_does_not_fit_never_reaches_the_library(what, sampler):
    make, message = MISFITS[what]
    with pytest.raises(UserError, match=r"the source does not fit the network: .* must be ") as raised:
        sampler("native").sample(network(), None, make())
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 1, 2, 2), 4), r"integers in \[0, 4\), got 4 … 4"),
        (torch.zeros(1, 1, 2, 3, dtype=torch.int64), r"expected shape \(b, 1, 2, 2\), got \(1, 1, 2, 3\)"),
    ],
)
def test_an_image_that_cannot_be_forced_is_refused(image, message):
    with pytest.raises(UserError, match=message):
        ForceSource(image, ImageSpec(1, height=2, width=2, levels=4))


@needs_native
def test_noise_may_lie_in_memory_in_any_order():
    noise = torch.rand(26, 4, 2, dtype=torch.float64)
    by_image, in_order = (drawn(uniforms=form) for form in (noise.mT, noise.mT.contiguous()))
    images = [WavefrontSampler("native").sample(network(), None, source) for source in (by_image, in_order)]
    assert torch.equal(*images)


class Strange(PixelSource):
    """A source that returns the result of the function `given` at each call."""

    count = 2

    def __init__(self, given):
        self.given = given

    def pixels(self, places, parameters):
        return self.given(len(places))


STRANGE = {
    "no integers": (lambda n: torch.zeros(n, 2, 3), "got torch.float32 of shape"),
    "other integers": (lambda n: torch.zeros(n, 2, 3, dtype=torch.int32), "got torch.int32 of shape"),
    "one pixel for all images": (lambda n: torch.zeros(n, 1, 3, dtype=torch.int64), "got torch.int64 of shape"),
    "no axis of images": (lambda n: torch.zeros(n * 2, 3, dtype=torch.int64), "got torch.int64 of shape"),
    "nothing": (lambda n: None, "got NoneType"),
    "too large values": (lambda n: torch.full((n, 2, 3), 256), r"expected integers in [0, 256), got 256 … 256"),
    "negative values": (lambda n: torch.full((n, 2, 3), -1), r"expected integers in [0, 256), got -1 … -1"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sampler", [RasterSampler, *SAMPLERS])
@pytest.mark.parametrize("what", STRANGE)
def test_pixels_that_are_none_are_refused_by_every_sampler(what, sampler, engine):
    given, message = STRANGE[what]
    made = RasterSampler() if sampler is RasterSampler else sampler(engine)
    with pytest.raises(UserError, match="Strange") as raised:
        made.sample(network(), None, Strange(given))
    assert message in str(raised.value)


class Wide(LightNetwork):
    """A network that encodes pixels to more channels than its layers read."""

    def encode(self, image):
        return torch.cat([super().encode(image)] * 3, dim=1)


def wide():
    made = network()
    made.__class__ = Wide
    return made


def mixed():
    made = network()
    matrix = next(weight for weight in made.out.parameters() if weight.dim() > 1)
    matrix.data = matrix.data.double()
    return made


@needs_native
@pytest.mark.parametrize("engine", ["native", "auto"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (wide, r"a layer's weight has .*, but the layer reads .*`encode`"),
        (mixed, r"all weights must have one dtype, got torch.float32 and torch.float64"),
    ],
)
def test_layers_that_do_not_fit_never_reach_the_library(sampler, engine, make, message):
    own = make()
    with pytest.raises(UserError, match=message):
        sampler(engine).sample(own, None, DrawSource.of(own, REQUEST))


def steps_of_calls(images):
    """Returns how many steps the library runs in each call if this many images are drawn."""
    own = network()
    sampler = WavefrontSampler("native")
    source = DrawSource.of(own, SampleRequest(tuple(range(images))))
    with torch.no_grad():
        program = sampler.program(own, sampler.prepare(own), None, source)
        run = native._Run(program, source, 1)
    found = []
    run._run = lambda _, first, last: found.append(last - first)
    run()
    assert sum(found) == len(program.steps)
    return found


@needs_native
def test_more_images_do_not_keep_ctrl_c_waiting(monkeypatch):
    """With more images, the library runs fewer steps before it returns to Python, which handles signals."""
    monkeypatch.setattr(native, "STEPS_OF_A_CALL", 8)
    assert [max(steps_of_calls(images)) for images in (1, 2, 3, 100)] == [8, 4, 2, 1]


def test_a_recipe_whose_networks_are_sampled_slowly_is_told_so_before_training(caplog, monkeypatch):
    with caplog.at_level("INFO", "auxar"):
        auxar.check("quickstart", settings=["prior.noise=0.1"])
        assert not caplog.messages
        monkeypatch.delitem(FUNCTIONS, silu)
        auxar.check("quickstart")
    said = [line for line in caplog.messages if line.startswith("sampling with the slow raster sampler, because")]
    assert len(said) == 3
    assert "silu" in said[0]
