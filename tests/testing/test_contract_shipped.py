"""Tests that the contract checks catch faults in the shipped components: each test puts one fault into one of them."""

import functools

import attrs
import pytest
import torch

from auxar.model import Interval, Known
from auxar.testing import ContractError, check_head, check_sampler, check_view
from auxar_bitplanes import BitplanesConfig, BitplanesView
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers import CachedSampler, WavefrontSampler
from auxar_samplers.engines import EngineChoice
from auxar_samplers.engines.torch import TorchEngine
from auxar_subsample import SubsampleConfig, SubsampleView

# Views ----------------------------------------------------------------------------------------------------------------


class AnyOfTheSquare(PyramidView):
    """A pixel counts as known if any pixel of its square is."""

    def known(self, known):
        squares = known.mask.unflatten(1, (-1, self.factor)).unflatten(3, (-1, self.factor))
        return Known(self(known.filled()), squares.any(4).any(2))


class RowsOfTheSquare(PyramidView):
    """A pixel counts as known if the first column of its square is."""

    def known(self, known):
        return Known(self(known.filled()), known.mask[:, :, :: self.factor].unflatten(1, (-1, self.factor)).all(2))


class RoundedDown(PyramidView):
    def __call__(self, image):
        area = self.factor**2
        squares = image.to(torch.int64).unflatten(2, (-1, self.factor)).unflatten(4, (-1, self.factor))
        return (squares.sum((3, 5)) // area).to(image.dtype)


class SumsOfOne(PyramidView):
    """The sums of squares just below white include a sum that is too large by one."""

    def _sums(self, view):
        lowest, highest = super()._sums(view)
        return lowest, highest + (view.flatten(1) == self.image.levels - 2).to(torch.int64)


class SumsAtTheBorder(PyramidView):
    """The lowest sum of the last square is too large by one."""

    def _sums(self, view):
        lowest, highest = super()._sums(view)
        lowest[:, -1] += 1
        return lowest, highest


class TurnedSquares(PyramidView):
    """The groups of sub-pixels are those of the transposed image, if it is not square."""

    def _squares(self):
        number, weight = super()._squares()
        turned = number.mT.reshape(number.shape) if number.shape[1] != number.shape[2] else number
        return turned, weight


class InBytes(PyramidView):
    def __call__(self, image):
        squares = image.unflatten(2, (-1, self.factor)).unflatten(4, (-1, self.factor))
        return (squares.sum((3, 5), dtype=image.dtype) // self.factor**2).to(image.dtype)


class BlueFirst(GrayscaleView):
    """The view reads blue, green, red; its support reads red, green, blue."""

    def __call__(self, image):
        return super().__call__(image.flip(1))


class GrayBelow(GrayscaleView):
    """The support assumes a luma that is rounded down."""

    def _sums(self, view):
        return tuple(sums + 500 for sums in super()._sums(view))


class UnknownRows(GrayscaleView):
    """A pixel counts as known if the same pixel of the row below is."""

    def known(self, known):
        return Known(self(known.filled()), known.mask.roll(-1, 1))


class DropsMore(BitplanesView):
    def __call__(self, image):
        return (image >> self.drop) & ~1


class LowerBits(BitplanesView):
    def _values(self, view):
        lowest, highest = super()._values(view)
        return lowest, highest - 1


class FromTheSecond(SubsampleView):
    """The view keeps the last column of each square, but its known pixels are those of the first."""

    def __call__(self, image):
        columns = torch.arange(self.view.width) * self.factor + self.factor - 1
        return image[..., :: self.factor, columns.clamp(max=self.image.width - 1)].clone()


class KeepsTheRest(SubsampleView):
    """The support fixes the rows that the view keeps instead of their pixels."""

    def _values(self, view):
        lowest, highest = super()._values(view)
        shape = (len(view), *self.image.shape)
        wide = view.to(torch.int64).repeat_interleave(self.factor, 3)[..., : self.image.width]
        for values in (lowest, highest):
            values.view(shape)[..., :: self.factor, :] = wide
        return lowest, highest


class NotMonotone(GrayscaleView):
    def __call__(self, image):
        return self.view.levels - 1 - super().__call__(image)


VIEWS = {
    AnyOfTheSquare: (PyramidConfig(2), "known"),
    RowsOfTheSquare: (PyramidConfig(2), "known"),
    RoundedDown: (PyramidConfig(3), "support"),
    SumsOfOne: (PyramidConfig(2), "support"),
    SumsAtTheBorder: (PyramidConfig(2), "support"),
    TurnedSquares: (PyramidConfig(2), "support"),
    InBytes: (PyramidConfig(2), "dtype"),
    BlueFirst: (GrayscaleConfig(4), "support"),
    GrayBelow: (GrayscaleConfig(4), "support"),
    UnknownRows: (GrayscaleConfig(2), "known"),
    DropsMore: (BitplanesConfig(1), "monotone"),
    LowerBits: (BitplanesConfig(1), "support"),
    FromTheSecond: (SubsampleConfig(2), "known"),
    KeepsTheRest: (SubsampleConfig(2), "support"),
    NotMonotone: (GrayscaleConfig(3), "monotone"),
}


# Heads ----------------------------------------------------------------------------------------------------------------


class UncoupledMixture(LogisticMixtureHead):
    """The mean of blue depends on red with the coefficient of green."""

    @staticmethod
    def _coupled_mean(means, couplings, scaled, channel):
        mean = means[:, channel]
        for earlier in range(channel):
            mean = mean + couplings[:, 0] * scaled[:, None, earlier]
        return mean


class OpenEnd(LogisticMixtureHead):
    """Intervals end before the white value."""

    def channel_log_mass(self, parameters, image, interval):
        return super().channel_log_mass(
            parameters, image, Interval(interval.low, interval.high.clamp(max=self.levels - 2))
        )


class ReducedTwice(LogisticMixtureHead):
    """Restricted draws always lower the log-scales."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(parameters, uniforms, attrs.evolve(rule, reduction=2.0), pixels)


class FirstComponent(LogisticMixtureHead):
    """Draws always take the same component of the mixture."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, torch.cat([uniforms[:, :1] * 1e-9, uniforms[:, 1:]], 1), rule)


class InvertedTemperature(SoftmaxHead):
    """The temperature multiplies the logits of unrestricted draws."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, uniforms, attrs.evolve(rule, temperature=1 / rule.temperature))


class RestrictedTemperature(SoftmaxHead):
    """Restricted draws ignore the temperature."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(parameters, uniforms, attrs.evolve(rule, temperature=1.0), pixels)


class SwappedChannels(SoftmaxHead):
    """Draws swap the channels, which the likelihood does not."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, uniforms, rule).flip(1)


HEADS = {
    UncoupledMixture: "draws",
    OpenEnd: "mass",
    ReducedTwice: "draws",
    FirstComponent: "draws",
    InvertedTemperature: "rule",
    RestrictedTemperature: "rule",
    SwappedChannels: "draws",
}


# Engines and samplers -------------------------------------------------------------------------------------------------


class Engine(TorchEngine):
    """The engine `torch` with one fault."""

    def prepare(self, program, source):
        run = super().prepare(program, source)
        self.break_(run)
        return run

    def break_(self, run):
        """Puts the fault into the run of a program."""
        raise NotImplementedError


class WithoutEdges(Engine):
    """An engine that treats places outside of the image like pixels."""

    def break_(self, run):
        for clock in run.positions.clocks:
            clock.flag_table.fill_(True)


class FirstBand(Engine):
    """An engine that fills the tables of the first band only."""

    def break_(self, run):
        bands = list(run.program.bands())
        object.__setattr__(run, "program", Rows(run.program, [(bands[0][0], bands[-1][1])]))


class Rows:
    """A program with other bands."""

    def __init__(self, program, bands):
        self.program = program
        self.bands = lambda: iter(bands)

    def __getattr__(self, name):
        return getattr(self.program, name)


class Unencoded(Engine):
    """An engine that feeds black pixels to the network."""

    def break_(self, run):
        encode = run.program.encode
        run.program = Rows(run.program, list(run.program.bands()))
        run.program.encode = lambda drawn: encode(drawn * 0)


class OneImage(Engine):
    """An engine that gives the predictions for the first image to all images."""

    def break_(self, run):
        source = run.source

        class Same:
            count, reach, takes_outside = source.count, source.reach, source.takes_outside

            def pixels(self, places, parameters):
                by_place = parameters.view(len(places), source.count, -1)
                return source.pixels(places, by_place[:, :1].expand_as(by_place).flatten(0, 1))

        run.source = Same()


ENGINES = [
    (WithoutEdges, WavefrontSampler),
    (WithoutEdges, CachedSampler),
    # The programs of the wavefront sampler have only one band.
    (FirstBand, CachedSampler),
    (Unencoded, WavefrontSampler),
    (OneImage, CachedSampler),
]


class ShortLag(WavefrontSampler):
    """A wavefront whose rows follow each other too closely."""

    def prepare(self, network):
        schedule = super().prepare(network)
        return attrs.evolve(schedule, lag=max(1, schedule.lag - 1))


# Tests ----------------------------------------------------------------------------------------------------------------


FAST = [AnyOfTheSquare, GrayBelow, LowerBits, OpenEnd, RestrictedTemperature, InvertedTemperature]
"""Faults that are tested in every run of the tests, since each is found in about a second. The others are slow."""


def marks(fault):
    return [] if fault in FAST else pytest.mark.slow


def law_of(check, *arguments):
    """The law that a component breaks."""
    with pytest.raises(ContractError) as error:
        check(*arguments)
    return error.value.law


@pytest.mark.parametrize(
    ("kind", "config", "law"),
    [pytest.param(kind, *how, id=kind.__name__, marks=marks(kind)) for kind, how in VIEWS.items()],
)
def test_a_fault_in_a_shipped_view_is_caught(kind, config, law):
    assert law_of(check_view, kind, config) == law


@pytest.mark.parametrize(
    ("kind", "law"), [pytest.param(kind, law, id=kind.__name__, marks=marks(kind)) for kind, law in HEADS.items()]
)
def test_a_fault_in_a_shipped_head_is_caught(kind, law):
    def build(config, image):
        return kind(image) if issubclass(kind, SoftmaxHead) else kind(image, 2)

    assert law_of(check_head, build, None) == law


def with_engine(engine, sampler):
    return sampler(EngineChoice("broken", (engine(),)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [ShortLag, *(functools.partial(with_engine, *pair) for pair in ENGINES)],
    ids=["lag", *(f"{engine.__name__}-{sampler.name}" for engine, sampler in ENGINES)],
)
def test_a_fault_in_a_shipped_sampler_or_engine_is_caught(build):
    assert law_of(check_sampler, lambda config: build(), None) in ("equality", "source")
