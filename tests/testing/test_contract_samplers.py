"""Tests that every contract check of samplers fails for a sampler that breaks its law."""

import abc
import copy
from collections.abc import Callable

import attrs
import pytest
import torch
from helpers.contract import tells
from helpers.right_network import Net

from auxar.errors import UserError
from auxar.model import DrawSource, Head, ImageSpec, Interval, Sampler, SampleRequest, evaluating
from auxar.testing import ContractError, check_sampler
from auxar.testing.examples import randomized
from auxar.testing.samplers import check_many
from auxar.testing.sources import NotingSource
from auxar_heads.softmax import SoftmaxHead
from auxar_layers.convolutions import CausalConv2d
from auxar_samplers import RasterSampler, WavefrontSampler

IMAGE = ImageSpec(1, height=3, width=2, levels=16)
WIDE = ImageSpec(1, height=2, width=5, levels=16)


class Copy(RasterSampler):
    """A correct sampler, from which the broken ones are derived."""


class Changing(Copy):
    """Base class of samplers that change each `DrawSource`, and leave other sources as they are."""

    def sample(self, network, features, source):
        return super().sample(network, features, self.changed(source) if isinstance(source, DrawSource) else source)

    @abc.abstractmethod
    def changed(self, source: DrawSource) -> DrawSource:
        """Returns the changed source."""


class Deaf(Changing):
    """A sampler that ignores known pixels and limits."""

    def changed(self, source):
        return attrs.evolve(source, limits=None)


class Unbounded(Changing):
    """A sampler that keeps known pixels, but ignores the limits of others."""

    def changed(self, source):
        if source.limits is None:
            return source
        known = source.limits.low == source.limits.high
        limits = Interval(source.limits.low.where(known, 0), source.limits.high.where(known, source.levels - 1))
        return attrs.evolve(source, limits=limits)


class Overwriting(Changing):
    """A sampler that ignores known pixels and limits if the decoder is restricted."""

    def changed(self, source):
        return attrs.evolve(source, limits=source.limits if source.walk is None else None)


class Stray(Changing):
    """A sampler that ignores the intervals of a restricted decoder."""

    def changed(self, source):
        return attrs.evolve(source, walk=None)


class Forgetful(Changing):
    """A sampler that does not pass drawn values to the walk of a restricted decoder."""

    def changed(self, source):
        if source.walk is not None:
            source.walk.take = lambda *arguments: None
        return source


class OneNoise(Changing):
    """A sampler that replaces the noise of the source by its own."""

    def changed(self, source):
        noise = torch.rand(source.uniforms.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return attrs.evolve(source, uniforms=noise)


class Hiding(Copy):
    """A sampler that returns black images if its source fails."""

    def sample(self, network, features, source):
        try:
            return super().sample(network, features, source)
        except ArithmeticError:
            return torch.zeros(source.count, *network.image.shape, dtype=torch.int64)


class Inverting(Copy):
    """A sampler that returns other pixels than those of a custom source."""

    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        return found if isinstance(source, DrawSource) else network.image.levels - 1 - found


class Leader(Copy):
    """A sampler that draws all images with the features of the first one."""

    def sample(self, network, features, source):
        features = None if features is None else features[:1].expand_as(features)
        return super().sample(network, features, source)


class OneTemperature(Changing):
    """A sampler that ignores the temperature."""

    def changed(self, source):
        return attrs.evolve(source, adjustments=attrs.evolve(source.adjustments, temperature=1.0))


class Remembering(Copy):
    """A sampler that keeps a copy of a network, and so draws with weights that may have changed."""

    def __init__(self):
        self.kept = {}

    def sample(self, network, features, source):
        kept = self.kept.setdefault(id(network), copy.deepcopy(network))
        kept.eval()
        return super().sample(kept, features, source)


class RemembersFeatures(Copy):
    """A sampler that keeps the features of an earlier batch."""

    def __init__(self):
        self.kept = {}

    def sample(self, network, features, source):
        features = self.kept.setdefault((id(network), source.count), features)
        return super().sample(network, features, source)


class Tearing(Copy):
    """A sampler that changes the features that it gets."""

    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        if features is not None:
            features.zero_()
        return found


class InMemory(Copy):
    """A sampler that reads features in the order of memory."""

    def sample(self, network, features, source):
        if features is not None:
            height, width = features.shape[2:]
            strides = (features.stride(0), height * width, width, 1)
            features = features.as_strided(features.shape, strides)
        return super().sample(network, features, source)


class Careless(Copy):
    """A sampler that leaves the network in evaluation mode if its source fails."""

    def sample(self, network, features, source):
        try:
            return super().sample(network, features, source)
        except Exception:
            network.eval()
            raise


class Rousing(Copy):
    """A sampler that puts all parts of a network into the mode of the whole."""

    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        network.train(network.training)
        return found


class Reseeding(Copy):
    def sample(self, network, features, source):
        torch.manual_seed(0)
        return super().sample(network, features, source)


class Gradientless(Copy):
    def sample(self, network, features, source):
        torch.set_grad_enabled(False)
        return super().sample(network, features, source)


class Checking(Copy):
    """A sampler whose check leaves the network in evaluation mode."""

    def check(self, network):
        network.eval()


class Pairs(Copy):
    """A sampler that draws the third image of a batch and later ones like the first."""

    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        return found[torch.arange(len(found)) % 2] if len(found) > 2 else found


class OneBias(Copy):
    """A sampler that ignores the features, except for networks of square images."""

    def sample(self, network, features, source):
        if features is not None and network.image.height != network.image.width:
            features = features * 0
        return super().sample(network, features, source)


class Waker(Copy):
    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        network.train()
        return found


class Short(Copy):
    def sample(self, network, features, source):
        return super().sample(network, features, source).to(torch.uint8)


class Heavy(Copy):
    @torch.no_grad()
    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        next(network.parameters()).mul_(2)
        return found


class Turned(Copy):
    """A sampler that swaps the rows and columns of images."""

    def sample(self, network, features, source):
        return super().sample(network, features, source).mT


class Beyond(Copy):
    """A sampler that returns values outside the range of the image."""

    def sample(self, network, features, source):
        return super().sample(network, features, source) + network.image.levels


class Crowded(Copy):
    """A sampler that fails for more than one image."""

    def sample(self, network, features, source):
        if source.count > 1:
            raise RuntimeError("one image at a time")
        return super().sample(network, features, source)


class Shy(Copy):
    """A sampler that draws another image if the batch has only one."""

    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        return network.image.levels - 1 - found if source.count == 1 else found


class OnlyDraws(Copy):
    """A sampler that replaces any source other than a `DrawSource` by a `DrawSource`."""

    def sample(self, network, features, source):
        if not isinstance(source, DrawSource):
            source = DrawSource.of(network, SampleRequest(tuple(range(source.count))))
        return super().sample(network, features, source)


class Plain(Head):
    """A head that cannot be restricted. Restricted draws need the reach too, and would break another law first."""

    def __init__(self, image):
        self.softmax = SoftmaxHead(image)
        self.parameter_count = self.softmax.parameter_count
        self.uniform_count = self.softmax.uniform_count

    def log_prob(self, parameters, image):
        return self.softmax.log_prob(parameters, image)

    def draw(self, parameters, uniforms, rule):
        return self.softmax.draw(parameters, uniforms, rule)


class Near(WavefrontSampler):
    """A sampler that ignores the reach of its source."""

    def program(self, network, prepared, features, count, reach, lag):
        return super().program(network, prepared, features, count, 0, lag)


class Hasty(WavefrontSampler):
    """A sampler that promises raster order, and ignores the lag of its source."""

    def lag(self, network, reach=0):
        return network.image.width

    def program(self, network, prepared, features, count, reach, lag):
        return super().program(network, prepared, features, count, reach, None)


class Stepping(Sampler):
    """A correct sampler that requests one place after the other from its source."""

    def steps(self, height, width):
        return [[place] for place in range(height * width)]

    def passed(self, parameters):
        return parameters

    def fed(self, network, pixels):
        return pixels

    @torch.no_grad()
    def sample(self, network, features, source):
        shape = (source.count, *network.image.shape)
        image, seen = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
        with evaluating(network):
            for places in self.steps(*network.image.shape[1:]):
                parameters = network(network.encode(seen), features).flatten(2)[:, :, places]
                pixels = source.pixels(torch.tensor(places), self.passed(parameters.permute(2, 0, 1).flatten(0, 1)))
                image.flatten(2)[:, :, places] = pixels.permute(1, 2, 0)
                seen.flatten(2)[:, :, places] = self.fed(network, pixels).permute(1, 2, 0)
        return image


class Teacher(Stepping):
    """A sampler that draws all pixels in one step, as if they were independent."""

    def steps(self, height, width):
        return [list(range(height * width))]


class Partial(Stepping):
    """A sampler that never requests the last pixel."""

    def steps(self, height, width):
        return super().steps(height, width)[:-1]


class Twice(Stepping):
    """A sampler that requests every pixel twice."""

    def steps(self, height, width):
        return [[place] for place in range(height * width) for _ in range(2)]


class Columns(Stepping):
    """A sampler that draws column by column, which suffices for free draws if networks read no pixels to the right."""

    def steps(self, height, width):
        return [[row * width + column] for column in range(width) for row in range(height)]


class Rows(Stepping):
    """A sampler that requests whole rows, which suffices for free draws if networks read no pixels of the same row."""

    def steps(self, height, width):
        return [list(range(row * width, (row + 1) * width)) for row in range(height)]


class Normalizing(Stepping):
    """A sampler that shifts the predicted logits. Shifted logits draw the same pixels, but are not the predictions."""

    def passed(self, parameters):
        return parameters - parameters.amax(1, keepdim=True)


class Stale(Stepping):
    """A sampler that passes the parameters of the previous pixel to the source."""

    kept = None

    def passed(self, parameters):
        stale = parameters if self.kept is None or self.kept.shape != parameters.shape else self.kept
        self.kept = parameters
        return stale


class Independent(Stepping):
    """A sampler that feeds other pixels to the network than those that the source returned."""

    def fed(self, network, pixels):
        return network.image.levels - 1 - pixels


class FirstEight(Stepping):
    """A sampler that predicts at most 8 images at once, and passes the last prediction on for all others."""

    def passed(self, parameters):
        return torch.cat([parameters[:8], parameters[7:8].expand(max(0, len(parameters) - 8), -1)])


class FewColumns(Stepping):
    """A sampler that passes on nothing for columns beyond the eighth."""

    def steps(self, height, width):
        self.width = width
        self.place = -1
        return super().steps(height, width)

    def passed(self, parameters):
        self.place += 1
        return parameters * (self.place % self.width < 8)


class InSingle(Copy):
    """A sampler that ignores the features of networks in float32."""

    def sample(self, network, features, source):
        if features is not None and features.dtype == torch.float32:
            features = torch.zeros_like(features)
        return super().sample(network, features, source)


class Padded(Copy):
    """A sampler that also requests a place outside the image."""

    @torch.no_grad()
    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        outside = network.image.height * network.image.width
        source.pixels(torch.tensor([outside]), torch.zeros(source.count, network.head.parameter_count).double())
        return found


class LeftNet(Net):
    """A network that reads no pixels to the right of the predicted one."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.above = CausalConv2d(self.image.channels, 4, (1, 2), (-2, 0))


class AboveNet(Net):
    """A network that reads only rows above the predicted pixel."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.left = CausalConv2d(self.image.channels, 4, (1, 1), (0, 0))


@pytest.mark.parametrize(
    ("kind", "network", "message"),
    [
        (Deaf, Net, "equality"),
        (OneNoise, Net, "equality"),
        (Hiding, Net, "source"),
        (Inverting, Net, "source"),
        (Leader, Net, "equality"),
        (OneTemperature, Net, "equality"),
        (Remembering, Net, "weights"),
        (Tearing, Net, "inputs"),
        (InMemory, Net, "layout"),
        (Careless, Net, "mode"),
        (Rousing, Net, "mode"),
        (Reseeding, Net, "state"),
        (Gradientless, Net, "state"),
        (Checking, Net, "mode"),
        (Pairs, Net, "equality"),
        (OneBias, Net, "equality"),
        (Waker, Net, "mode"),
        (Short, Net, "dtype"),
        (Heavy, Net, "weights"),
        (Turned, Net, "shape"),
        (Beyond, Net, "range"),
        (Crowded, Net, "runs"),
        (Shy, Net, "batch"),
        (Teacher, Net, "equality"),
        (Partial, Net, "equality"),
        (Stale, Net, "equality"),
        (Independent, Net, "equality"),
        (Stray, Net, "equality"),
        (Unbounded, Net, "equality"),
        (Overwriting, Net, "equality"),
        (Forgetful, Net, "equality"),
        (OnlyDraws, Net, "source"),
        (Twice, Net, "source"),
        (Padded, Net, "source"),
        (Normalizing, Net, "source"),
        (Columns, LeftNet, "order"),
        (Rows, AboveNet, "source"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.usefixtures("first_example")
def test_a_broken_sampler_is_caught(kind, network, message):
    with pytest.raises(ContractError) as error:
        check_sampler(lambda config: kind(), None, networks=[network(IMAGE, 0), network(IMAGE, 2)])
    tells(error, message)


def test_a_sampler_that_remembers_features_is_caught():
    with pytest.raises(ContractError) as error:
        check_sampler(lambda config: RemembersFeatures(), None, networks=[Net(IMAGE, 0), Net(IMAGE, 2)])
    equality = "equality"
    tells(error, "batch", equality)


@pytest.mark.parametrize("kind", [FirstEight, FewColumns, InSingle])
def test_a_sampler_that_is_right_for_few_small_images_in_float64_only_is_caught(kind):
    network = randomized(Net(attrs.evolve(WIDE, width=12), 2), 0)
    check_many(Stepping(), [network])
    with pytest.raises(ContractError, match=r"(?s)^source: .* in torch\.float32.*images = 17"):
        check_many(kind(), [network])


def test_a_sampler_that_ignores_the_reach_of_its_source_is_caught():
    with pytest.raises(ContractError) as error:
        check_sampler(lambda config: Near(), None, networks=[Net(WIDE, 0, Plain(WIDE))])
    assert error.value.law == "source"
    assert "rows above up to 2 columns to its right" in str(error.value)


def test_a_sampler_that_ignores_the_lag_of_its_source_is_caught():
    with pytest.raises(ContractError) as error:
        check_sampler(lambda config: Hasty(), None, networks=[Net(WIDE, 0, Plain(WIDE))])
    assert error.value.law == "order"
    assert f"a source with a lag of {WIDE.width} was asked for the places" in str(error.value)


class Lagless(Stepping):
    """A sampler with a lag that is beyond the width."""

    def lag(self, network, reach=0):
        return network.image.width + 1


def test_a_lag_beyond_the_width_is_caught():
    with pytest.raises(ContractError, match=r"^order: Sampler\.lag must return an integer from 1 to the width"):
        check_sampler(lambda config: Lagless(), None, networks=[Net(IMAGE, 0)])


def test_what_is_no_sampler_is_said():
    with pytest.raises(ContractError, match=r"spec: build must return an auxar\.Sampler, got Net"):
        check_sampler(lambda config: Net(IMAGE, 0), None)  # type: ignore[arg-type, return-value]


class Refusing(Copy):
    def check(self, network):
        raise UserError("not this one")


def test_a_sampler_that_takes_no_shipped_network_is_asked_for_others():
    with pytest.raises(ContractError, match=r"build: the sampler accepts none of the default networks.*not this one"):
        check_sampler(lambda config: Refusing(), None)


def test_a_sampler_is_checked_on_the_networks_it_is_meant_for():
    image = ImageSpec(1, height=3, width=3, levels=4)
    networks = [Net(image, 0), Net(image, 2)]
    before = [parameter.clone() for network in networks for parameter in network.parameters()]

    def build(kind: type[Sampler]) -> Callable[[object], Sampler]:
        return lambda config: kind()

    for kind in (Copy, Stepping, WavefrontSampler):
        check_sampler(build(kind), None, networks=networks)
    after = [parameter for network in networks for parameter in network.parameters()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


# The source that checks its calls ------------------------------------------------------------------------------------


def places_of(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(places_of(), 0)], r"places must be int64 of shape \(n,\)"),
        ([(places_of(0).int(), 1)], r"places must be int64 of shape \(n,\) with n ≥ 1, got torch.int32"),
        ([(places_of(0)[None], 1)], r"places must be int64 of shape \(n,\)"),
        ([(places_of(-1), 1)], r"places must lie in 0 … 5, got \[-1\]"),
        ([(places_of(6), 1)], r"places must lie in 0 … 5, got \[6\]"),
        (
            [(places_of(0), 2)],
            r"parameters must be floating point of shape \(2, 5\), got torch.float32 of shape \(4, 5\)",
        ),
        ([(places_of(0), 1), (places_of(0), 1)], "row 0, column 0 was requested twice"),
        ([(places_of(1), 1)], "row 0, column 1 was requested too early: all pixels to its left"),
        ([(places_of(0, 1), 2)], "row 0, column 1 was requested too early: all pixels to its left"),
        ([(places_of(0), 1), (places_of(2), 1)], "row 1, column 0 was requested .* above up to 1 columns to its right"),
        ([(places_of(k), 1) for k in range(5)], "the sampler did not request every pixel"),
    ],
)
def test_a_source_says_how_it_is_misused(steps, message):
    source = NotingSource(torch.zeros(2, *IMAGE.shape), IMAGE, 5, reach=1)

    def use():
        for places, count in steps:
            source.pixels(places, torch.zeros(2 * count, 5))
        source.check_finished()

    with pytest.raises(ContractError, match=f"(?s)^source: .*{message}"):
        use()


def test_a_source_that_is_used_rightly_notes_the_parameters():
    source = NotingSource(torch.arange(12).view(2, *IMAGE.shape), IMAGE, 5, reach=0)
    parameters = torch.arange(60.0).view(6, 2, 5)
    for places in (places_of(0), places_of(1), places_of(2), places_of(3, 4), places_of(5)):
        found = source.pixels(places, parameters[places].flatten(0, 1))
        assert torch.equal(found, torch.stack([places, places + 6], dim=1)[..., None])
    source.check_finished()
    assert torch.equal(source.parameters.flatten(2), parameters.permute(1, 2, 0).double())
