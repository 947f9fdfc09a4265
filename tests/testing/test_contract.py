"""Tests that shipped components pass the contract checks."""

from typing import Any

import pytest

from auxar.plugins import load_plugins
from auxar.testing import check_embedding, check_network, check_sampler, check_view
from auxar_heads import logistic_mixture

REGISTRY = load_plugins()
SMALL: dict[str, dict[str, Any]] = {
    "convnet": {"filters": 3, "hidden": 2, "blocks": 1},
    "pixelcnn": {"filters": 3, "blocks": 1, "head": logistic_mixture(2)},
    "pixelcnn++": {"filters": 2, "nr_resnet": 1, "head": logistic_mixture(2)},
    "resnet": {"filters": 3, "blocks_per_group": 1},
}


def component(kind, name):
    found = REGISTRY.get(kind, name, "test")
    return found.build, found.config(**SMALL.get(name, {}))


@pytest.mark.parametrize("name", ["grayscale", "pyramid"])
def test_shipped_views_keep_the_contract(name):
    check_view(*component("view", name))


@pytest.mark.parametrize("name", ["pixelcnn", "convnet", pytest.param("pixelcnn++", marks=pytest.mark.slow)])
def test_shipped_networks_keep_the_contract(name):
    check_network(*component("network", name))


@pytest.mark.parametrize("name", ["resnet", "convnet"])
def test_shipped_embeddings_keep_the_contract(name):
    check_embedding(*component("embedding", name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wavefront", "cached"])
def test_shipped_samplers_keep_the_contract(name):
    check_sampler(*component("sampler", name))
