"""Tests that recorded steps draw the same images, and that steps are recorded only if they can be repeated."""

import logging

import attrs
import pytest
import torch
from helpers.causal_networks import (
    SEEDS,
    full_networks,
    growing_networks,
    knowns,
    light_networks,
    random_features,
    random_images,
    randomized,
)
from helpers.tape import TapeRecorder
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar import Ancestral, DrawSource, ForceSource, ImageSpec, SampleRequest
from auxar.model import GivenView, RepeatedWalk, SumSupport
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn.networks import LightNetwork
from auxar_rules import Map, Reduced
from auxar_samplers import CachedSampler, WavefrontSampler
from auxar_samplers.engines.choice import EngineChoice
from auxar_samplers.engines.torch import TorchEngine, record_on_gpu

IMAGE = ImageSpec(1, height=5, width=6, levels=4)


class TapeEngine(TorchEngine):
    """The engine `torch`, which records on tapes as if the CPU were a GPU."""

    def __init__(self):
        super().__init__()
        self.record_on_tape = TapeRecorder()

    def _recorder(self, device, source):
        return None if super()._recorder(torch.device("cuda"), source) is None else self.record_on_tape


def drawn(sampler, engine, network, source, features=None):
    return sampler(EngineChoice("torch", (engine,))).sample(network, features, source)


def sums(image):
    """The support of images whose pixels have given sums of channels over two halves of the image."""
    half = image.height * image.width // 2
    numbers = (torch.arange(image.height * image.width) >= half).long().view(1, image.height, image.width)
    return SumSupport(
        image,
        lambda: (numbers.expand(image.shape), torch.ones(image.shape, dtype=torch.int64)),
        lambda view: (view.flatten(1), view.flatten(1)),
    )


@settings(deadline=None, max_examples=8)
@given(
    network=st.one_of(light_networks(), full_networks(), growing_networks()),
    seed=SEEDS,
    rule=st.sampled_from([Ancestral(), Map(), Reduced()]),
    restricted=st.booleans(),
    data=st.data(),
)
def test_recorded_steps_draw_the_same_images(network, seed, rule, restricted, data):
    sampler = WavefrontSampler if isinstance(network, LightNetwork) else CachedSampler
    request = SampleRequest((0, 1), seed, rule=rule, known=data.draw(knowns(network.image, 2)))
    if restricted:
        image = random_images(2, network.image, seed)
        half = network.image.height * network.image.width // 2
        flat = image.sum(1).flatten(1)
        view = torch.stack([flat[:, :half].sum(1), flat[:, half:].sum(1)], dim=1)
        request = attrs.evolve(request, given=GivenView(sums(network.image), view, True))
    features, engine = random_features(network, 2, seed), TapeEngine()
    found = drawn(sampler, engine, network, DrawSource.of(network, request), features)
    assert torch.equal(found, drawn(sampler, TorchEngine(), network, DrawSource.of(network, request), features))
    assert all(tape.replays for tape in engine.record_on_tape.tapes)


class Counting(SoftmaxHead):
    """A head that counts its calls and, if `reads` is set, reads a value on the host."""

    calls = 0
    reads = False

    def draw(self, parameters, uniforms, rule):
        self.calls += 1
        if self.reads:
            assert float(uniforms.sum()) >= 0
        return super().draw(parameters, uniforms, rule)


@pytest.fixture
def network():
    return randomized(LightNetwork(IMAGE, Counting(IMAGE), filters=3, blocks=1, features_channels=0, dropout=0.0), 0)


REQUEST = SampleRequest((0, 1, 2), 0)


@pytest.mark.parametrize(("sampler", "kinds"), [(WavefrontSampler, 2), (CachedSampler, 3)])
def test_python_runs_only_the_first_two_steps_of_each_kind(network, sampler, kinds):
    engine = TapeEngine()
    drawn(sampler, engine, network, DrawSource.of(network, REQUEST))
    tapes = engine.record_on_tape.tapes
    assert len(tapes) == kinds  # one of them has no pixels to draw
    assert network.head.calls == 2
    assert sum(tape.replays for tape in tapes) > 20


def test_steps_that_read_values_are_not_recorded(network, caplog):
    expected = drawn(WavefrontSampler, TorchEngine(), network, DrawSource.of(network, REQUEST))
    steps, network.head.calls, network.head.reads = network.head.calls, 0, True
    engine = TapeEngine()
    with caplog.at_level(logging.DEBUG, "auxar"):
        found = drawn(WavefrontSampler, engine, network, DrawSource.of(network, REQUEST))
    assert torch.equal(found, expected)
    assert network.head.calls == steps + 1  # the attempt to record a step is one more
    (said,) = [message for message in caplog.messages if "recorded" in message]
    assert said.startswith("the operations of a step are not recorded: aten._local_scalar_dense")


def test_a_walk_that_does_not_work_in_place_is_not_recorded(network):
    view = torch.full((3, 2), 20)
    walk = RepeatedWalk(sums(IMAGE), view)
    for each, recorded in ((sums(IMAGE).walk(view), True), (walk, False)):
        source = attrs.evolve(DrawSource.of(network, REQUEST), walk=each)
        assert source.in_place is recorded


@pytest.mark.parametrize(
    ("device", "record", "changes", "recorded"),
    [
        ("cuda", True, {}, True),
        ("cpu", True, {}, False),
        ("cuda", False, {}, False),
        ("cuda", True, {"in_place": False}, False),
        ("cuda", True, {"takes_outside": False}, False),
    ],
)
def test_only_a_gpu_records_and_only_sources_that_work_in_place(device, record, changes, recorded):
    source = ForceSource(random_images(1, IMAGE), IMAGE)
    for name, value in changes.items():
        setattr(source, name, value)
    found = TorchEngine(record=record)._recorder(torch.device(device), source)
    assert found is (record_on_gpu if recorded else None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("sampler", [WavefrontSampler, CachedSampler])
def test_a_gpu_draws_the_same_images_with_and_without_recording(network, sampler):
    network.to("cuda")
    found = [
        drawn(sampler, TorchEngine(record=record), network, DrawSource.of(network, REQUEST)) for record in (True, False)
    ]
    assert torch.equal(*found)
