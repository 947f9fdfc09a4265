"""Every law of samplers catches one that breaks it."""

import abc
from collections.abc import Callable

import attrs
import pytest
import torch
from helpers.right_network import Net

from auxar.errors import UserError
from auxar.interfaces import ImageSpec, Interval, Sampler, SampleRequest
from auxar.sources import DrawSource
from auxar.testing import ContractError, check_sampler
from auxar.testing.sources import NotingSource
from auxar_layers.convolutions import CausalConv2d
from auxar_samplers import RasterSampler, WavefrontSampler

IMAGE = ImageSpec(1, height=3, width=2, levels=16)
WIDE = ImageSpec(1, height=2, width=5, levels=16)


class Copy(RasterSampler):
    """A right sampler, which the broken ones differ from in one thing."""


class Changing(Copy):
    """The frame of samplers that change sources which draw, and leave others as they are."""

    def sample(self, network, features, source):
        return super().sample(network, features, self.changed(source) if isinstance(source, DrawSource) else source)

    @abc.abstractmethod
    def changed(self, source: DrawSource) -> DrawSource:
        """The source that takes its place."""


class Deaf(Changing):
    """Draws known pixels anew, and all others whatever their limits."""

    def changed(self, source):
        return attrs.evolve(source, limits=None)


class Unbounded(Changing):
    """Keeps known pixels, and draws the others whatever their limits."""

    def changed(self, source):
        if source.limits is None:
            return source
        known = source.limits.low == source.limits.high
        limits = Interval(source.limits.low.where(known, 0), source.limits.high.where(known, source.levels - 1))
        return attrs.evolve(source, limits=limits)


class Overwriting(Changing):
    """Draws known pixels where it follows a walk."""

    def changed(self, source):
        return attrs.evolve(source, limits=source.limits if source.walk is None else None)


class Stray(Changing):
    """Draws whatever its walk leaves possible."""

    def changed(self, source):
        return attrs.evolve(source, walk=None)


class Forgetful(Changing):
    """Does not tell its walk what it has drawn."""

    def changed(self, source):
        if source.walk is not None:
            source.walk.take = lambda *arguments: None
        return source


class OneNoise(Changing):
    """Has noise of its own."""

    def changed(self, source):
        noise = torch.rand(source.uniforms.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return attrs.evolve(source, uniforms=noise)


class Leader(Copy):
    """All images with the features of the first."""

    def sample(self, network, features, source):
        features = None if features is None else features[:1].expand_as(features)
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
    """Images with rows for columns."""

    def sample(self, network, features, source):
        return super().sample(network, features, source).mT


class Beyond(Copy):
    """Values beyond those that an image has."""

    def sample(self, network, features, source):
        return super().sample(network, features, source) + network.image.levels


class Crowded(Copy):
    """Draws no image together with others."""

    def sample(self, network, features, source):
        if source.count > 1:
            raise RuntimeError("one image at a time")
        return super().sample(network, features, source)


class Shy(Copy):
    """Draws an image otherwise if it is alone."""

    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        return network.image.levels - 1 - found if source.count == 1 else found


class OnlyDraws(Copy):
    """Knows of no source but one that draws."""

    def sample(self, network, features, source):
        if not isinstance(source, DrawSource):
            source = DrawSource.of(network, SampleRequest(tuple(range(source.count))))
        return super().sample(network, features, source)


class Near(WavefrontSampler):
    """Ignores how far to the right, in rows above, its source looks."""

    def program(self, network, prepared, features, count, reach):
        return super().program(network, prepared, features, count, 0)


class Stepping(Sampler):
    """A right sampler, which asks for one place after the other."""

    def steps(self, height, width):
        return [[place] for place in range(height * width)]

    def passed(self, parameters):
        return parameters

    def fed(self, network, pixels):
        return pixels

    @torch.no_grad()
    def sample(self, network, features, source):
        training = network.training
        network.eval()
        shape = (source.count, *network.image.shape)
        image, seen = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
        for places in self.steps(*network.image.shape[1:]):
            parameters = network(network.encode(seen), features).flatten(2)[:, :, places]
            pixels = source.pixels(torch.tensor(places), self.passed(parameters.permute(2, 0, 1).flatten(0, 1)))
            image.flatten(2)[:, :, places] = pixels.permute(1, 2, 0)
            seen.flatten(2)[:, :, places] = self.fed(network, pixels).permute(1, 2, 0)
        network.train(training)
        return image


class Teacher(Stepping):
    """Draws all pixels at once, which is not how the model draws them."""

    def steps(self, height, width):
        return [list(range(height * width))]


class Partial(Stepping):
    """Does not ask for the last pixel."""

    def steps(self, height, width):
        return super().steps(height, width)[:-1]


class Twice(Stepping):
    """Asks for every pixel twice."""

    def steps(self, height, width):
        return [[place] for place in range(height * width) for _ in range(2)]


class Columns(Stepping):
    """Goes down one column after the other, which is right for networks that look at no pixel to the right."""

    def steps(self, height, width):
        return [[row * width + column] for column in range(width) for row in range(height)]


class Rows(Stepping):
    """Asks for all pixels of a row at once, which is right for networks that look at rows above alone."""

    def steps(self, height, width):
        return [list(range(row * width, (row + 1) * width)) for row in range(height)]


class Normalizing(Stepping):
    """Passes on what draws the same pixels, but is not what the network predicts."""

    def passed(self, parameters):
        return parameters - parameters.amax(1, keepdim=True)


class Stale(Stepping):
    """Passes on the parameters of the pixel before."""

    kept = None

    def passed(self, parameters):
        stale = parameters if self.kept is None or self.kept.shape != parameters.shape else self.kept
        self.kept = parameters
        return stale


class Independent(Stepping):
    """Feeds pixels of its own back to the network instead of the source's."""

    def fed(self, network, pixels):
        return network.image.levels - 1 - pixels


class Padded(Copy):
    """Asks for the place outside of the image too."""

    @torch.no_grad()
    def sample(self, network, features, source):
        found = super().sample(network, features, source)
        outside = network.image.height * network.image.width
        source.pixels(torch.tensor([outside]), torch.zeros(source.count, network.head.parameter_count).double())
        return found


class LeftNet(Net):
    """Looks at no pixel to the right of the one it predicts."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.above = CausalConv2d(self.image.channels, 4, (1, 2), (-2, 0))


class AboveNet(Net):
    """Looks at rows above alone."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.left = CausalConv2d(self.image.channels, 4, (1, 1), (0, 0))


@pytest.mark.parametrize(
    ("kind", "network", "law"),
    [
        (Deaf, Net, "equality"),
        (OneNoise, Net, "equality"),
        (Leader, Net, "equality"),
        (Waker, Net, "mode"),
        (Short, Net, "dtype"),
        (Heavy, Net, "weights"),
        (Turned, Net, "shape"),
        (Beyond, Net, "range"),
        (Crowded, Net, "runs"),
        (Shy, Net, "batch"),
        (Teacher, Net, "equality"),
        (Partial, Net, "equality"),
        (Stale, Net, "source"),
        (Independent, Net, "equality"),
        (Stray, Net, "equality"),
        (Unbounded, Net, "equality"),
        (Overwriting, Net, "equality"),
        (Forgetful, Net, "equality"),
        (OnlyDraws, Net, "source"),
        (Twice, Net, "source"),
        (Padded, Net, "source"),
        (Normalizing, Net, "source"),
        (Columns, LeftNet, "equality"),
        (Rows, AboveNet, "source"),
    ],
)
def test_a_broken_sampler_is_caught(kind, network, law):
    with pytest.raises(ContractError) as error:
        check_sampler(lambda config: kind(), None, networks=[network(IMAGE, 0), network(IMAGE, 2)])
    assert error.value.law == law


def test_a_sampler_that_ignores_the_reach_of_its_source_is_caught():
    with pytest.raises(ContractError) as error:
        check_sampler(lambda config: Near(), None, networks=[Net(WIDE, 0)])
    assert error.value.law == "source"
    assert "one above up to 2 columns to its right" in str(error.value)


def test_what_is_no_sampler_is_said():
    with pytest.raises(ContractError, match=r"spec: build makes a Net, expected an auxar\.interfaces\.Sampler"):
        check_sampler(lambda config: Net(IMAGE, 0), None)  # type: ignore[arg-type, return-value]


class Refusing(Copy):
    def check(self, network):
        raise UserError("not this one")


def test_a_sampler_that_takes_no_shipped_network_is_asked_for_others():
    with pytest.raises(ContractError, match=r"build: none of the shipped networks is accepted.*not this one"):
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


# The source that watches ---------------------------------------------------------------------------------------------


def places_of(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(places_of(), 0)], r"places must be int64 of shape \(n,\)"),
        ([(places_of(0).int(), 1)], r"places must be int64 of shape \(n,\), got torch.int32"),
        ([(places_of(0)[None], 1)], r"places must be int64 of shape \(n,\)"),
        ([(places_of(-1), 1)], r"places must lie in 0 … 5, got \[-1\]"),
        ([(places_of(6), 1)], r"places must lie in 0 … 5, got \[6\]"),
        ([(places_of(0), 2)], r"parameters must have shape \(2, 5\), got \(4, 5\)"),
        ([(places_of(0), 1), (places_of(0), 1)], "row 0, column 0 was asked for twice"),
        ([(places_of(1), 1)], "row 0, column 1 was asked for before one to its left"),
        ([(places_of(0, 1), 2)], "row 0, column 1 was asked for before one to its left"),
        ([(places_of(0), 1), (places_of(2), 1)], "row 1, column 0 was asked for .* above up to 1 columns to its right"),
        ([(places_of(k), 1) for k in range(5)], "the sampler did not ask for every pixel"),
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
