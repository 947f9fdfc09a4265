"""Tests that every sampler works with any pixel source, under every engine."""

import ctypes
import logging
import re
from pathlib import Path

import pytest
import torch
from helpers.causal_networks import (
    ENGINES,
    NETWORKS,
    SEEDS,
    WORKING_ENGINES,
    needs_native,
    random_features,
    random_images,
    randomized,
)
from helpers.marks import with_slow
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.model import DrawSource, ForceSource, ImageSpec, PixelSource, SampleRequest
from auxar.testing.sources import NotingSource
from auxar_heads import logistic_mixture
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn import components
from auxar_pixelcnn.networks import LightNetwork
from auxar_samplers import CachedSampler, RasterSampler, WavefrontSampler
from auxar_samplers.engines import NativeForm
from auxar_samplers.engines.native import engine as native
from auxar_samplers.program_sampler import ProgramSampler

# Tolerance for sums in another order and for fast approximations of functions.
CLOSE = 1e-9


class Likeliest(PixelSource):
    """A third-party source whose pixels are the index of the largest of a few parameters."""

    def __init__(self, count, image):
        self.count = count
        self.image = image
        self.kept = []

    def pixels(self, places, parameters):
        self.kept.append(parameters)
        rows = parameters.view(len(places), self.count, -1)[..., : self.image.levels]
        first = rows.argmax(2, keepdim=True)
        return (first + torch.arange(self.image.channels)) % self.image.levels


@pytest.mark.parametrize("name", with_slow(NETWORKS, "full"))
@settings(deadline=None, max_examples=4)
@given(seed=SEEDS, count=st.integers(1, 3), reach=st.integers(0, 8), single=st.booleans(), data=st.data())
def test_every_sampler_and_engine_works_with_any_source(name, seed, count, reach, single, data):
    """Every sampler gives back a forced image, calls a source once for each place in an order that respects its reach
    and with the network's parameters, and makes the image of the raster sampler."""
    kinds, networks = NETWORKS[name]
    network = data.draw(networks)
    image, features = random_images(count, network.image, seed), random_features(network, count, seed)
    with torch.no_grad():
        parameters = network(network.encode(image), features)
    likeliest = RasterSampler().sample(network, features, Likeliest(count, network.image))
    samplers = [RasterSampler(), *(kind(engine) for kind in kinds for engine in WORKING_ENGINES)]
    for sampler in samplers:
        source = NotingSource(image, network.image, network.head.parameter_count, reach)
        assert torch.equal(sampler.sample(network, features, source), image)
        source.check_finished()
        torch.testing.assert_close(source.parameters, parameters, rtol=CLOSE, atol=CLOSE)
        assert torch.equal(sampler.sample(network, features, Likeliest(count, network.image)), likeliest)
    network = network.float() if single else network
    features = features.float() if single and features is not None else features
    for sampler in samplers:
        assert torch.equal(sampler.sample(network, features, ForceSource(image.to(torch.uint8), network.image)), image)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [WavefrontSampler, CachedSampler])
def test_parameters_that_a_source_keeps_do_not_change_later(monkeypatch, kind, engine):
    image = ImageSpec(1, height=4, width=5, levels=4)
    network = randomized(components.light(components.LightConfig(filters=3, blocks=1), image), 0)
    source, copies = Likeliest(2, image), []
    pixels = source.pixels

    def watched(places, parameters):
        copies.append(parameters.clone())
        return pixels(places, parameters)

    monkeypatch.setattr(source, "pixels", watched)
    kind(engine).sample(network, None, source)
    assert len(copies) > 5
    assert all(torch.equal(*pair) for pair in zip(source.kept, copies, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_source_raises_comes_through_and_leaves_the_network_in_its_mode(engine):
    class Failing(Likeliest):
        def pixels(self, places, parameters):
            if places.max() >= 7:
                raise EOFError("no more bytes")
            return super().pixels(places, parameters)

    image = ImageSpec(1, height=3, width=4, levels=4)
    network = components.light(components.LightConfig(filters=3, blocks=1), image).train()
    for sampler in (RasterSampler(), WavefrontSampler(engine), CachedSampler(engine)):
        with pytest.raises(EOFError, match="no more bytes"):
            sampler.sample(network, None, Failing(1, image))
        assert network.training


class OwnEncoding(LightNetwork):
    def encode(self, image):
        return super().encode(image)


@needs_native
@pytest.mark.parametrize(
    ("forced", "kind", "most", "reason"),
    [
        (
            False,
            LightNetwork,
            4,
            "Likeliest in Python at each step, which is slower: there is no compiled function for",
        ),
        (True, OwnEncoding, 4, "ForceSource in Python at each step, which is slower: OwnEncoding has its own method"),
        (True, LightNetwork, 3, "ForceSource in Python .*: its images have more than 3 levels"),
        (True, LightNetwork, 4, None),
    ],
)
def test_calling_a_source_back_is_said_once_with_its_reason(caplog, monkeypatch, forced, kind, most, reason):
    native._say_called_back.cache_clear()
    monkeypatch.setattr(native, "MOST_ENCODED_LEVELS", most)
    image = ImageSpec(1, height=3, width=4, levels=4)
    network = components.light(components.LightConfig(filters=3, blocks=1), image)
    network.__class__ = kind
    source = ForceSource(random_images(1, image), image) if forced else Likeliest(1, image)
    with caplog.at_level(logging.INFO, logger="auxar"):
        found = [WavefrontSampler("native").sample(network, None, source) for _ in range(2)]
        assert torch.equal(*found)
        WavefrontSampler("torch").sample(network, None, Likeliest(1, image))
    assert len(caplog.messages) == (reason is not None)
    assert reason is None or re.search(f"the native engine runs {reason}", caplog.messages[0])


# Programs ------------------------------------------------------------------------------------------------------------


def programs_of(image, channels, count=2):
    """Yields the programs of a network for the wavefront and the cached sampler."""
    config = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    network = randomized(components.light(config, image, channels), 0)
    samplers: list[ProgramSampler] = [WavefrontSampler(), CachedSampler()]
    for sampler in samplers:
        features, source = random_features(network, count), ForceSource(random_images(count, image), image)
        yield sampler.program(network, sampler.prepare(network), features, source)


@needs_native
def test_the_library_runs_all_steps_of_a_range_in_one_call(monkeypatch):
    calls = []
    steps = native._Run._steps

    def watched(self, *ends):
        calls.append(ends)
        return steps(self, *ends)

    monkeypatch.setattr(native._Run, "_steps", watched)
    image = ImageSpec(1, height=20, width=6, levels=4)
    for channels in (0, 2):
        for program in programs_of(image, channels):
            calls.clear()
            forced = random_images(2, image)
            native.NativeEngine().prepare(program, ForceSource(forced, image))()
            assert calls == list(program.bands())
            assert torch.equal(program.images(), forced)
            assert len(calls) < 30


class Counting(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "channels", "levels")]


@needs_native
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("int auxar_hat;", "the C\\+\\+ code of OwnHead: .*auxar_head"),
        ("no code", "the C\\+\\+ code of OwnHead: the C\\+\\+ compiler .* failed: "),
        (
            """
            #include "pixels.h"
            extern "C" {
            HeadCode auxar_head = {1, nullptr, nullptr, nullptr, nullptr};
            }
            """,
            "the constants of OwnHead have 24 bytes in Python, but 1 in C\\+\\+",
        ),
        (Path("none.cpp"), "the C\\+\\+ code of OwnHead: .*No such file or directory: 'none.cpp'"),
    ],
)
def test_the_code_of_a_head_that_cannot_be_used_is_refused_with_the_heads_name(code, message):
    class OwnHead(SoftmaxHead):
        def native_form(self, adjustments):
            return NativeForm(code, Counting())

    image = ImageSpec(1, height=2, width=2, levels=4)
    network = LightNetwork(image, OwnHead(image), filters=2, blocks=1, features_channels=0, dropout=0.0)
    with pytest.raises(UserError, match=f"engine 'native': {message}"):
        WavefrontSampler("native").sample(network, None, DrawSource.of(network, SampleRequest((0,))))
