"""The bound log p(X, ψ(X)) ≤ log p(X), over all registered networks and views."""

import pytest
from helpers.bounds import check_bound
from helpers.causal_networks import HEADS, SEEDS, randomized
from helpers.marks import with_slow
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.model import CausalDistribution, Chain, Factor, ImageSpec
from auxar.plugins import load_plugins

REGISTRY = load_plugins()
NETWORKS = {
    "convnet": {"filters": 3, "hidden": 2, "blocks": 1},
    "pixelcnn": {"filters": 3, "blocks": 1},
    "pixelcnn++": {"filters": 2, "nr_resnet": 1},
    "transformer": {"width": 4, "heads": 2, "blocks": 1},
}
"""Options that make the networks small."""
VIEWS = {
    "bitplanes": ({"drop": 1}, [ImageSpec(1, height=2, width=2, levels=4), ImageSpec(3, height=1, width=1, levels=4)]),
    "grayscale": (
        {"levels": 2},
        [ImageSpec(3, height=1, width=2, levels=2), ImageSpec(3, height=2, width=1, levels=2)],
    ),
    "pyramid": ({"factor": 2}, [ImageSpec(1, height=2, width=2, levels=3), ImageSpec(1, height=2, width=4, levels=2)]),
    "subsample": (
        {"factor": 2},
        [ImageSpec(1, height=2, width=2, levels=3), ImageSpec(1, height=2, width=4, levels=2)],
    ),
}
"""Options of the views, and images so small that all of them and their views can be enumerated."""


def built(kind, name, options, *fit):
    component = REGISTRY.get(kind, name, "test")
    return component.build(component.config(**options), *fit)


@st.composite
def networks(draw, name, image, features_channels):
    options = {**NETWORKS[name], "head": draw(st.sampled_from(list(HEADS.values())))}
    return built("network", name, options, image, features_channels)


def test_every_registered_network_and_view_is_tested():
    assert (sorted(NETWORKS), sorted(VIEWS)) == (REGISTRY.names("network"), REGISTRY.names("view"))


@pytest.mark.parametrize("view", with_slow(VIEWS, "bitplanes"))
@pytest.mark.parametrize("name", NETWORKS)
@settings(deadline=None, max_examples=3)
@given(data=st.data(), seed=SEEDS)
def test_an_image_with_its_view_is_at_most_as_likely_as_the_image(name, view, data, seed):
    options, specs = VIEWS[view]
    psi = built("view", view, options, data.draw(st.sampled_from(specs)))
    embedding = built("embedding", "resnet", {"filters": 2, "blocks_per_group": 1}, psi.view, psi.image)
    decoder = CausalDistribution(data.draw(networks(name, psi.image, embedding.features_channels)))
    prior = CausalDistribution(data.draw(networks(name, psi.view, 0)))
    check_bound(randomized(Chain([Factor(decoder, view=psi, embedding=embedding), Factor(prior)]), seed))
