"""Tests that every network can use a head from a plugin file for training, evaluation and sampling."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from helpers.causal_networks import needs_native
from helpers.evaluations import figures_of
from helpers.tiny_runs import metrics, run, tiny, write_pictures
from helpers.tutorial_files import write_tutorial

import auxar
from auxar.errors import UserError
from auxar.model import Chain, ImageSpec, Sampler, SampleRequest
from auxar.plugins import load_plugins
from auxar.recipe.choices import HeadChoice
from auxar_heads import logistic_mixture, softmax
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn import components
from auxar_samplers import AutoSampler, CachedSampler, RasterSampler, WavefrontSampler

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
    """Returns a function that gives the finished run with a network by its name. Heads are those of a tutorial."""
    folder = tmp_path_factory.mktemp("heads")
    write_tutorial("networks.md", folder)
    pictures = write_pictures(folder / "pictures")

    @functools.cache
    def finished(name):
        network = {"name": name, "head": "bernoulli", **NETWORKS[name]}
        table = tiny(
            pictures,
            plugins=["sketch.py"],
            image__levels=2,
            stage__0__decoder=network,
            prior=network,
            training__steps=2,
            sampling__images=1,
            # This head draws ancestrally under the default rule of runs, `map`, which is refused.
            sampling__rule="ancestral",
        )
        return run(folder / name.replace("+", "p"), table)

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
    assert [type(factor.network.head).__name__ for factor in model.factors] == ["BernoulliHead"] * 2


@pytest.mark.parametrize("name", NETWORKS)
def test_every_sampler_and_engine_draws_the_same_image(runs, name):
    model = auxar.load(runs(name), trust_plugins=True).chain.double().eval()
    request = SampleRequest((0, 4), 7)
    with torch.no_grad():
        expected = model.draw_views(request, RasterSampler())
        assert len(expected[0].unique()) == 2
        for kind in SAMPLERS[name]:
            for engine in ENGINES:
                for found, view in zip(model.draw_views(request, kind(engine)), expected, strict=True):
                    assert torch.equal(found, view)


def test_an_image_that_a_head_cannot_describe_is_refused_with_the_heads_name():
    with pytest.raises(UserError, match=r"^head 'logistic_mixture' needs an image of 1 or 3 channels"):
        components.light(components.LightConfig(), ImageSpec(2, height=2, width=2))


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
        assert HeadChoice.from_recipe(made.to_recipe(), registry, "head") == read
        assert type(read.build(image)) is type(made.build(image)) is kind
    usual = {"name": "logistic_mixture", "components": 10, "centered": True}
    assert components.LightConfig().head.to_recipe() == usual
