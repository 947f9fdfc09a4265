"""Tests that images are decoded from streams of the bits of their likelihoods, by every sampler and engine."""

import copy
import hashlib
import itertools
import math
from typing import Any

import pytest
import torch
from helpers.causal_networks import SAMPLERS, WORKING_ENGINES
from helpers.golden_models import MODELS, golden_images, make_golden_run
from helpers.values import values_of, views_of

import auxar
from auxar.errors import UserError
from auxar.model import FactorCoder, ImageSpec
from auxar.model.sources import coding_order
from auxar.numerics.range_coder import TOTAL
from auxar_samplers.auto import AutoSampler
from auxar_samplers.program_sampler import WavefrontSampler

GOLDEN = {
    "pyramid": {"prior": "ed1a1306fca7ac73", "stage0": "bbbcac261cbdefc6"},
    "grayscale": {"prior": "8d92375c4c63a694", "stage0": "0c630b68cabb6f91"},
    "centered": {"prior": "0005d11d86fa4331", "stage0": "838c692fdd162bb0", "stage1": "8b628aef45598b0e"},
    "neighbors": {"prior": "e064b5ef7e8884bc", "stage0": "10e5497c861095d5"},
}
"""The first 16 hexadecimal digits of the SHA-256 of all streams of a factor."""


@pytest.fixture(scope="module", params=MODELS)
def run(request, made_once):
    """A run with fixed weights, and its integers."""
    return made_once(f"golden/{request.param}", lambda folder: make_golden_run(folder, request.param))


@pytest.fixture(scope="module")
def coded(run):
    """For each factor of a model, its coder, its images, their views and their streams."""
    model = auxar.load(run, arithmetic="integer")
    views: list[Any] = [*views_of(model.chain, golden_images()), None]
    found = []
    for factor in model.factors:
        coder = FactorCoder(factor, AutoSampler())
        image, view = views[factor.depth : factor.depth + 2]
        found.append((coder, image, view, coder.encode(values_of(factor, image, view), coder.lag())))
    return run.name, model, found


def test_streams_have_the_bits_of_the_likelihoods(coded):
    _, model, factors = coded
    nats = {each.factor: each.log_prob for each in model.log_probs(golden_images())}
    for coder, _, _, streams in factors:
        for stream, log_prob in zip(streams, nats[coder.factor.name].tolist(), strict=True):
            bits = -log_prob / math.log(2)
            assert bits <= 8 * len(stream) + 8  # Zero bytes at the end are not written.
            assert 8 * len(stream) <= bits * 1.001 + 16


def test_nothing_is_coded_where_one_value_is_possible(coded, monkeypatch):
    """In a restricted decoder, the view determines some sub-pixels. Coding them would change the state of the coder."""
    name, _, factors = coded
    coder, image, view, _ = factors[0]
    found: list[torch.Tensor] = []
    monkeypatch.setattr(type(coder.head), "stream", lambda head, ranges: found.append(ranges[1]))
    coder.encode(values_of(coder.factor, image, view), coder.lag())
    assert all(0 < frequency < TOTAL for frequency in torch.cat(found))
    assert (len(torch.cat(found)) < image.numel()) == (name in ("pyramid", "neighbors"))


@pytest.mark.parametrize("batch", [1, 7])
def test_streams_are_the_same_for_every_batch(coded, batch):
    name, _, factors = coded
    for coder, image, view, streams in factors:
        views = itertools.repeat(None) if view is None else view.split(batch)
        parts = zip(image.split(batch), views, strict=False)
        found = [stream for part in parts for stream in coder.encode(values_of(coder.factor, *part), coder.lag())]
        assert found == streams
        assert hashlib.sha256(b"\0".join(found)).hexdigest()[:16] == GOLDEN[name][coder.factor.name]


# Slow samplers decode the images of two models only. Other tests compare all samplers on random networks.
DECODED = [
    pytest.param(name, sampler, marks=[pytest.mark.slow] * (name == "neighbors" and not sampler.endswith("native")))
    for name in MODELS
    for sampler in SAMPLERS
    if sampler.endswith("native") or name in ("grayscale", "neighbors")
]


@pytest.mark.parametrize(("run", "sampler"), DECODED, indirect=["run"])
def test_every_sampler_that_follows_the_order_decodes_the_same_images(coded, sampler):
    name, _, factors = coded
    for coder, image, view, streams in factors:
        # One network has several resolutions. The wavefront sampler does not support it, and raster takes seconds.
        if name == "grayscale" and coder.factor.name == "stage0" and ("wavefront" in sampler or sampler == "raster"):
            continue
        own = FactorCoder(coder.factor, SAMPLERS[sampler])
        count = 2 if sampler == "raster" else len(image)
        lag = coder.lag()
        if "cached" in sampler and lag < image.shape[3]:
            with pytest.raises(UserError, match=f"draws pixels in raster order, which is a lag of .* got {lag}"):
                own.decode(streams, values_of(own.factor, None, view), lag)
            streams, lag = own.encode(values_of(own.factor, image, view), own.lag()), own.lag()
        view = None if view is None else view[:count]
        assert torch.equal(own.decode(streams[:count], values_of(own.factor, None, view), lag), image[:count])


def test_bands_of_high_images_have_the_bits_of_whole_images(run, monkeypatch):
    """These networks see more than the 16 rows around a band, but pixels so far away hardly matter.

    An engine's steps over bands do not depend on the model, so the slow engine decodes the images of one model only.
    """
    monkeypatch.setattr("auxar.model.bands.PIXELS", 1)
    model = auxar.load(run, arithmetic="integer").at(83, 2)
    engines = WORKING_ENGINES if run.name == "pyramid" else WORKING_ENGINES[-1:]
    images = model.sample(2).tensor
    views: list[Any] = [*views_of(model.chain, images), None]
    nats = {each.factor: each.log_prob.tolist() for each in model.log_probs(images)}
    for factor in model.factors:
        image, view = views[factor.depth : factor.depth + 2]
        coders = [FactorCoder(factor, AutoSampler(engine)) for engine in engines]
        assert len(coders[0].bands) == -(-factor.image.height // 64)
        lag = coders[0].lag()
        streams = coders[0].encode(values_of(factor, image, view), lag)
        for coder in coders:
            assert torch.equal(coder.decode(streams, values_of(factor, None, view), lag), image)
        with monkeypatch.context() as patch:
            patch.setattr(type(coders[0].head), "stream", bits_of)
            bits: Any = coders[0].encode(values_of(factor, image, view), lag)
        near = 1e-9 if view is None else 5e-5  # Priors do not see more.
        assert bits == pytest.approx([-each / math.log(2) for each in nats[factor.name]], rel=near)


def bits_of(head, ranges):
    """The bits of values that are coded, given by starts and frequencies."""
    return -(ranges[1].double() / TOTAL).log2().sum().item()


def test_a_lag_that_is_too_small_is_refused(coded):
    for coder, _, view, streams in coded[2]:
        if coder.lag() > 1:
            with pytest.raises(UserError, match=r"needs a lag of at least|draws pixels in raster order"):
                coder.decode(streams, values_of(coder.factor, None, view), coder.lag() - 1)


class InRasterOrder(WavefrontSampler):
    """A sampler that ignores the order of its source."""

    def program(self, network, prepared, features, source):
        other = copy.copy(source)
        other.lag = network.image.width
        return super().program(network, prepared, features, other)


@pytest.mark.parametrize("engine", WORKING_ENGINES)
def test_a_sampler_that_ignores_the_order_is_refused(coded, engine):
    """The source checks the order, and so does the native engine before it runs."""
    (coder, _, view, streams) = next(each for each in coded[2] if each[0].lag() < each[1].shape[3])
    own = FactorCoder(coder.factor, InRasterOrder(engine=engine))
    with pytest.raises(UserError, match="asks for pixels in another order than that of the file"):
        own.decode(streams, values_of(coder.factor, None, view), coder.lag())


def test_a_model_in_floating_point_is_refused(run):
    model = auxar.load(run)
    with pytest.raises(UserError, match="has no integer frequencies, which coding needs"):
        FactorCoder(model.factors[0], AutoSampler())


@pytest.mark.parametrize("lag", [1, 2, 5, 9])
def test_the_order_is_by_time_and_then_by_row(lag):
    image = ImageSpec(height=4, width=6)
    order = coding_order(image, lag).tolist()
    assert sorted(order) == list(range(24))
    assert order == sorted(range(24), key=lambda place: (place // 6 * lag + place % 6, place // 6))
