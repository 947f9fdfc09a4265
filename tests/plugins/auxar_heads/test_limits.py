"""Tests of the limits of log-scales: likelihoods, draws and integers are those of limited parameters."""

import copy
import pickle
import re

import attrs
import pytest
import torch
from helpers.causal_networks import (
    SAMPLERS,
    SEEDS,
    generator,
    random_images,
    randomized,
)
from helpers.right_network import Flat
from helpers.values import values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from auxar.errors import UserError
from auxar.model import (
    CausalDistribution,
    CausalNetwork,
    Chain,
    Factor,
    ImageSpec,
    Interval,
    Known,
    SampleRequest,
)
from auxar.model.rule import EXACT
from auxar_convnet import components as convnet
from auxar_heads import logistic_mixture
from auxar_heads.logistic_mixture import LIMITS, LOG_SCALES, LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_integers.arithmetic import IntegerArithmetic
from auxar_integers.conversion import IntegerConfig
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers.raster import RasterSampler

COMPONENTS = 3
SPECS = [ImageSpec(channels, height=2, width=3, levels=levels) for channels, levels in [(1, 5), (1, 256), (3, 256)]]


def log_scales(parameters, channels):
    """A view of the log-scales in parameters (b, parameter_count, h, w)."""
    return parameters[:, COMPONENTS * (1 + channels) : COMPONENTS * (1 + 2 * channels)]


@settings(max_examples=40, deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    limit=st.sampled_from(LIMITS[LOG_SCALES]),
    seed=SEEDS,
    size=st.sampled_from([1, 9, 1e4]),
)
def test_no_parameters_give_a_scale_above_its_limit(spec, limit, seed, size):
    free = LogisticMixtureHead(spec, COMPONENTS)
    head, noise = free.bounded({LOG_SCALES: limit}), generator(seed)
    parameters = torch.randn((4, head.parameter_count, 2, 3), generator=noise, dtype=torch.float64)
    log_scales(parameters, spec.channels).mul_(size)
    limited = parameters.clone()
    log_scales(limited, spec.channels).clamp_(max=limit)
    image, ends = random_images(4, spec, seed), [random_images(4, spec, seed + number) for number in (1, 2)]
    interval = Interval(torch.minimum(*ends), torch.maximum(*ends))
    for name in ("log_prob", "channel_log_prob"):
        assert torch.equal(getattr(head, name)(parameters, image), getattr(free, name)(limited, image))
    for name in ("channel_log_mass", "restricted_log_prob"):
        nats, expected = getattr(head, name), getattr(free, name)
        assert torch.equal(nats(parameters, image, interval), expected(limited, image, interval))
    rows = [values.movedim(1, -1).flatten(0, 2) for values in (parameters, limited)]
    uniforms = torch.rand((len(rows[0]), head.uniform_count), generator=noise, dtype=torch.float64)
    assert torch.equal(head.draw(rows[0], uniforms, EXACT), free.draw(rows[1], uniforms, EXACT))
    integers = [(values.clamp(-1000, 1000) * 2.0**20).round() for values in (parameters, limited)]
    pairs = zip((head, free), integers, strict=True)
    ranges = [chosen.integer_head().coding_ranges(values, image, interval) for chosen, values in pairs]
    assert all(map(torch.equal, *ranges))


def limited_chain(limit=-3):
    """A pyramid whose random networks predict log-scales around 0; with a limit unless it is None."""
    image = ImageSpec(height=8, width=8)
    view = PyramidView(PyramidConfig(), image)
    small = {"filters": 6, "hidden": 6, "blocks": 1}
    head = logistic_mixture(2)
    embedding = convnet.embedding(convnet.ConvEmbeddingConfig(**small), view.view, image)
    networks = [
        convnet.network(convnet.ConvNetworkConfig(**small, head=head), *arguments)
        for arguments in [(image, embedding.features_channels), (view.view, 0)]
    ]
    decoder, prior = map(CausalDistribution, networks)
    model = randomized(Chain([Factor(decoder, view=view, embedding=embedding, restricted=True), Factor(prior)]), 3)
    for factor in model.factors if limit is not None else ():
        factor.limit({LOG_SCALES: limit})
    return model


def in_integers(model):
    arithmetic, values = IntegerArithmetic(IntegerConfig()), model.values(random_images(4, model.image))
    return Chain(
        [arithmetic.restore(factor, arithmetic.convert(factor, values)) for factor in model.factors],
        arithmetic="integers",
    )


@pytest.mark.parametrize("convert", [lambda model: model, in_integers], ids=["floats", "integers"])
@torch.no_grad()
def test_all_samplers_and_engines_keep_to_the_limits(convert):
    request = SampleRequest((0, 5), seed=1)
    chains = {limit: convert(limited_chain(limit)) for limit in (-3, None)}
    drawn = {limit: chain.by_depth(chain.draw(request, RasterSampler())) for limit, chain in chains.items()}
    assert not torch.equal(drawn[-3][0], drawn[None][0])
    for sampler in SAMPLERS.values():
        assert all(map(torch.equal, chains[-3].by_depth(chains[-3].draw(request, sampler)), drawn[-3]))


def test_a_network_keeps_its_limits_at_another_size_and_in_a_copy():
    model = limited_chain()
    for other in (model.at(6, 10), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [factor.limits for factor in other.factors] == [{LOG_SCALES: -3}] * 2


def test_integers_have_the_limits_of_their_description():
    """Integers of a factor without limits are described as before there were limits, so they keep their digests."""
    arithmetic = IntegerArithmetic(IntegerConfig())
    plain, other = (limited_chain(limit).factors[1] for limit in (None, -3))
    images = random_images(4, plain.image)
    values = values_of(plain, images)
    free, limited = (arithmetic.convert(factor, values) for factor in (plain, other))
    assert limited.description == {**free.description, "limits": {LOG_SCALES: -3}}
    assert all(torch.equal(tensor, limited.tensors[name]) for name, tensor in free.tensors.items())
    nats = [arithmetic.restore(factor, form)(values) for factor in (plain, other) for form in (free, limited)]
    chain = Chain([arithmetic.restore(other, limited)], arithmetic="integers")
    assert torch.equal(chain.without_limits().factors[0](values_of(chain.factors[0], images)), nats[0])
    assert torch.equal(nats[0], nats[2])
    assert torch.equal(nats[1], nats[3])
    assert not torch.equal(nats[0], nats[1])
    for limits in ({"scales": -3}, {LOG_SCALES: "-3"}, [1], 3):
        with pytest.raises(UserError):
            arithmetic.restore(plain, attrs.evolve(limited, description={**limited.description, "limits": limits}))


@pytest.mark.parametrize(
    ("head", "limits", "message"),
    [
        (LogisticMixtureHead(SPECS[0], 2), {"log_scale": -1}, "no limit 'log_scale'; did you mean 'log_scales'?"),
        (LogisticMixtureHead(SPECS[0], 2), {LOG_SCALES: 5}, "log_scales: expected a number from -5 to 1, got 5"),
        (LogisticMixtureHead(SPECS[0], 2), {LOG_SCALES: float("nan")}, "expected a number from -5 to 1, got nan"),
        (LogisticMixtureHead(SPECS[0], 2), {LOG_SCALES: True}, "expected a number from -5 to 1, got True"),
        (LogisticMixtureHead(SPECS[0], 2), {LOG_SCALES: [-1]}, "expected a number from -5 to 1, got [-1]"),
        (LogisticMixtureHead(SPECS[0], 2), {3: -1}, "has no limit 3 (known: log_scales)"),
        (LogisticMixtureHead(SPECS[0], 2), {"x" * 9000: -1}, "xxx...xxx"),
        (
            LogisticMixtureHead(SPECS[0], 2),
            [LOG_SCALES],
            "limits: expected numbers by name, such as {'log_scales': -2.0}",
        ),
        (SoftmaxHead(SPECS[0]), {LOG_SCALES: -1}, "SoftmaxHead has no limit 'log_scales'"),
    ],
)
def test_other_limits_are_refused(head, limits, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        head.bounded(limits)
    assert len(str(error.value)) < 300


def test_a_distribution_without_a_network_has_no_limits():
    factor = Factor(Flat(SPECS[0]))
    factor.limit({})
    assert factor.limits == {}
    assert factor.without_limits() is factor
    with pytest.raises(UserError, match="Flat has no causal network"):
        factor.limit({LOG_SCALES: -1.0})


class Feedback(CausalNetwork):
    """Predicts the pixel above, with twice the deviation of the pixels above as the scale: errors feed themselves."""

    features_channels = 0

    def __init__(self, image):
        super().__init__()
        self.image, self.head = image, LogisticMixtureHead(image, 1)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image, features=None):
        above = functional.pad(image, (1, 1, 1, 0))[:, :, :-1]
        window = torch.cat([above[:, :, :, column : column + image.shape[3]] for column in range(3)], 1)
        scales = (2 * window.std(1, keepdim=True)).clamp(min=0.004).log()
        return torch.cat([torch.zeros_like(scales), window.mean(1, keepdim=True), scales], 1)


@torch.no_grad()
@pytest.mark.parametrize(("limit", "dies_out"), [(-4.5, True), (None, False)])
def test_a_wrong_patch_dies_out_below_a_limit(limit, dies_out):
    image, count = ImageSpec(1, height=24, width=16), 8
    network = Feedback(image)
    if limit is not None:
        network.head = network.head.bounded({LOG_SCALES: limit})
    values = torch.full((count, *image.shape), 128)
    values[:, :, :4, 6:10] += 64 * (torch.rand(count, 1, 4, 4, generator=generator(0)).round() * 2 - 1).long()
    mask = (torch.arange(24) < 4)[None, :, None].expand(count, 24, 16)
    request = SampleRequest(tuple(range(count)), known=Known(values, mask))
    drawn = CausalDistribution(network).draw(request, RasterSampler())
    deviation = drawn[:, :, -4:].double().std((1, 2, 3))
    assert (deviation < 15).all() if dies_out else (deviation > 30).all(), deviation
