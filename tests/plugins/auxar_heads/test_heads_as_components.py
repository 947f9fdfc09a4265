"""Tests that every network can use a head from a plugin file for training, evaluation and sampling."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import attrs
import pytest
import torch
from helpers.causal_networks import needs_native
from helpers.evaluations import figures_of
from helpers.tiny_runs import metrics, run, tiny, write_pictures

import auxar
from auxar.errors import UserError
from auxar.model import Chain, ImageSpec, Sampler, SampleRequest
from auxar.plugins import load_plugins
from auxar.recipe.choices import HeadChoice
from auxar.testing import check_network
from auxar_heads import logistic_mixture, softmax
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn import components
from auxar_samplers import AutoSampler, CachedSampler, RasterSampler, WavefrontSampler
from auxar_samplers.engines.native import engine as native

# A plugin file with the head `binomial`.
HEAD = '''
"""A head that counts heads in levels − 1 tosses of a coin, with one parameter for each channel."""

from __future__ import annotations

import attrs
import torch
from torch.nn.functional import logsigmoid

from auxar.errors import UserError
from auxar.model import Head
from auxar.plugins import Component, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class BinomialConfig:
    """Options of a head with a binomial distribution for each channel."""

    gain: float = 1.0
    """Factor on the predictions of the network."""


class BinomialHead(Head):
    def __init__(self, config, image):
        if image.channels == 2:
            raise UserError("needs an image of 1 or 3 channels")
        self.gain = config.gain
        self.coins = image.levels - 1
        self.parameter_count = self.uniform_count = image.channels

    def channel_log_prob(self, parameters, image):
        return self._nats(parameters, image.to(torch.int64))

    def log_prob(self, parameters, image):
        return self.channel_log_prob(parameters, image).sum(1)

    def draw(self, parameters, uniforms, rule):
        values = torch.arange(self.coins + 1, device=parameters.device)
        below = self._nats(parameters[..., None], values).exp().cumsum(2)
        return (uniforms[..., None] > below).sum(2).clamp(max=self.coins)

    def _nats(self, logits, heads):
        logits = self.gain * logits.double()
        ways = torch.lgamma(torch.tensor(self.coins + 1.0).double())
        ways = ways - torch.lgamma(heads + 1.0) - torch.lgamma(self.coins - heads + 1.0)
        return ways + heads * logsigmoid(logits) + (self.coins - heads) * logsigmoid(-logits)


@hookimpl
def auxar_register_components():
    return [Component("head", "binomial", BinomialConfig, BinomialHead)]
'''
BINOMIAL = {"name": "binomial", "gain": 0.5}
NETWORKS = {
    "pixelcnn": {"filters": 4, "blocks": 1, "dropout": 0.0},
    "pixelcnn++": {"filters": 4, "nr_resnet": 1, "dropout": 0.0},
    "transformer": {"width": 4, "blocks": 1, "heads": 2, "dropout": 0.0},
}
SAMPLERS: dict[str, list[Callable[[str], Sampler]]] = {
    "pixelcnn": [WavefrontSampler, CachedSampler, AutoSampler],
    "pixelcnn++": [CachedSampler, AutoSampler],
    "transformer": [AutoSampler],
}
ENGINES = ["torch", *([] if needs_native.args[0] else ["native"])]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Returns a function that gives the finished run with a network by its name. All heads are `binomial`."""
    folder = tmp_path_factory.mktemp("heads")
    (folder / "coins.py").write_text(HEAD)
    pictures = write_pictures(folder / "pictures")
    found = {}

    def finished(name):
        if name not in found:
            network = {"name": name, "head": BINOMIAL, **NETWORKS[name]}
            table = tiny(
                pictures,
                plugins=["coins.py"],
                image__levels=16,
                stage__0__decoder=network,
                prior=network,
                training__steps=2,
                sampling__images=1,
                # This head draws ancestrally under every rule, so the default rule of runs, `map`, is replaced.
                sampling__rule="ancestral",
            )
            found[name] = run(folder / name.replace("+", "p"), table)
        return found[name]

    return finished


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_trained_evaluated_and_drawn_from(runs, name):
    folder = runs(name)
    losses = [line["bits_per_dim"] for line in metrics(folder)]
    assert len(losses) >= 4
    assert all(0 < loss < math.inf for loss in losses)
    assert figures_of(folder)["bits_per_dim"]["heldout"] > 0
    model = auxar.load(folder, trust_plugins=True).chain
    assert isinstance(model, Chain)
    heads = [factor.network.head for factor in model.factors]
    assert [type(head).__name__ for head in heads] == ["BinomialHead"] * 2
    assert [head.gain for head in heads] == [0.5] * 2


@pytest.mark.parametrize("name", NETWORKS)
def test_every_sampler_and_engine_draws_the_same_image(runs, name):
    model = auxar.load(runs(name), trust_plugins=True).chain.double().eval()
    request = SampleRequest((0, 4), 7)
    with torch.no_grad():
        expected = model.draw_views(request, RasterSampler())
        assert len(expected[0].unique()) > 3
        for kind in SAMPLERS[name]:
            for engine in ENGINES:
                for found, view in zip(model.draw_views(request, kind(engine)), expected, strict=True):
                    assert torch.equal(found, view)


@needs_native
def test_the_log_says_once_that_it_is_called_back(runs, caplog):
    model = auxar.load(runs("pixelcnn"), trust_plugins=True)
    native._say_called_back.cache_clear()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="auxar"):
        model.sample(3, batch_size=1, sampler=AutoSampler("native"))
    assert caplog.messages == [
        "the native engine runs DrawSource with BinomialHead in Python at each step, which is slower: "
        "there is no compiled function for it"
    ]


@pytest.fixture
def registry(tmp_path):
    (tmp_path / "coins.py").write_text(HEAD)
    return load_plugins([tmp_path / "coins.py"])


@pytest.mark.parametrize("make", [components.light, pytest.param(components.full, marks=pytest.mark.slow)])
def test_networks_with_it_keep_the_contract(registry, make):
    kind = components.LightConfig if make is components.light else components.FullConfig
    sizes = {"blocks": 1} if make is components.light else {"nr_resnet": 1}
    config = kind(filters=2, **sizes, head=HeadChoice.from_recipe("binomial", registry, "head"))
    images = [ImageSpec(1, height=1, width=3, levels=3), ImageSpec(3, height=1, width=2, levels=2)]
    check_network(make, config, images=images, features=(1,))


@pytest.mark.parametrize("head", [{"name": "binomial"}, {"name": "logistic_mixture", "components": 3}])
def test_an_image_that_a_head_cannot_describe_is_refused_with_the_heads_name(registry, head):
    choice = HeadChoice.from_recipe(head, registry, "prior.head")
    with pytest.raises(UserError, match=rf"^head '{head['name']}' needs an image of 1 or 3 channels"):
        components.light(components.LightConfig(head=choice), ImageSpec(2, height=2, width=2))


def test_the_shipped_heads_in_python_are_those_of_recipes():
    registry = load_plugins()
    image = ImageSpec(3, height=2, width=2)
    for written, made, kind in [
        ("softmax", softmax(), SoftmaxHead),
        ("logistic_mixture", logistic_mixture(), LogisticMixtureHead),
        ({"name": "logistic_mixture", "components": 3}, logistic_mixture(3), LogisticMixtureHead),
    ]:
        read = HeadChoice.from_recipe(written, registry, "head")
        assert read.config == made.config
        assert read.to_recipe() == made.to_recipe()
        assert HeadChoice.from_recipe(made.to_recipe(), registry, "head") == read
        heads = read.build(image), made.build(image)
        assert [type(head) for head in heads] == [kind] * 2
        assert heads[0].parameter_count == heads[1].parameter_count
    head = logistic_mixture(3).build(image)
    assert isinstance(head, LogisticMixtureHead)
    assert head.components == 3
    usual = {"name": "logistic_mixture", "components": 10, "centered": True}
    assert components.LightConfig().head.to_recipe() == usual
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        logistic_mixture().config.components = 3
