"""Tests that all shipped components pass the contract checks, most with options other than their defaults."""

import functools
from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers.causal_networks import randomized
from helpers.contract import breaks

from auxar.model import ImageSpec
from auxar.plugins import load_plugins
from auxar.testing import (
    check_augmentation,
    check_dataset,
    check_decoder,
    check_embedding,
    check_head,
    check_model,
    check_network,
    check_optimizer,
    check_prior,
    check_rule,
    check_sampler,
    check_view,
    distributions,
    embeddings,
    heads,
    samplers,
    supports,
    views,
)
from auxar.testing.laws import keeps_state
from auxar_heads import logistic_mixture, softmax

REGISTRY = load_plugins()
CHECKS = {
    "view": check_view,
    "network": check_network,
    "embedding": check_embedding,
    "head": check_head,
    "sampler": check_sampler,
    "optimizer": check_optimizer,
    "dataset": check_dataset,
    "model": check_model,
}
MIXTURE = logistic_mixture(2)
TRANSFORMER = {"width": 4, "blocks": 1, "heads": 2}
BITS = [(1, 1, 1, 1), (3, 3, 2, 2), (2, 4, 5, 3)]
"""Channels, height and width of images, and the bits that the view keeps."""
SLOW = pytest.mark.slow
UNCOUNTED = pytest.mark.filterwarnings("ignore:intervals of a support were not compared with all images")


SMALL = {"filters": 4, "blocks": 1}
CONDITIONS = {
    "categories": [
        (ImageSpec(1, height=1, width=1, levels=7), ImageSpec(3, height=4, width=6)),
        (ImageSpec(5, height=1, width=1, levels=2), ImageSpec(1, height=3, width=3)),
        (ImageSpec(1, height=8, width=8, levels=4), ImageSpec(3, height=4, width=2)),
        (ImageSpec(1, height=2, width=8, levels=4), ImageSpec(3, height=4, width=4)),
    ],
    "pixels": [
        (ImageSpec(3, height=8, width=8), ImageSpec(3, height=4, width=4)),
        (ImageSpec(1, height=2, width=2, levels=16), ImageSpec(3, height=4, width=4)),
    ],
}
"""Pairs of a condition and an image, for embeddings of conditions."""


def case(kind, name, *marks, options=None, **arguments):
    ident = "-".join([name, *(str(value) for value in (options or {}).values() if isinstance(value, int))])
    return pytest.param(kind, name, options or {}, arguments, id=f"{kind}-{ident}", marks=marks)


def bitplanes(drop, *marks):
    images = [ImageSpec(c, height=h, width=w, levels=2 ** (drop + bits)) for c, h, w, bits in BITS]
    return case("view", "bitplanes", *marks, options={"drop": drop}, images=images)


def stepwise_networks():
    """Transformers, whose predictions are drawn step by step."""
    build, config = built("network", "transformer", TRANSFORMER | {"head": MIXTURE})
    images = ImageSpec(3, height=3, width=4), ImageSpec(1, height=5, width=1, levels=7)
    return [randomized(build(config, image, features), 0) for image in images for features in (0, 2)]


def built(kind, name, options):
    component = REGISTRY.get(kind, name, "test")
    return component.build, component.config(**options)


SHIPPED = [
    case("view", "grayscale"),
    case("view", "grayscale", SLOW, options={"levels": 3}),
    # With 256 levels, the view has as many values as a byte holds.
    case("view", "grayscale", UNCOUNTED, options={"levels": 256}),
    case("view", "pyramid"),
    case("view", "pyramid", SLOW, options={"factor": 3}),
    case("view", "pyramid", SLOW, options={"factor": 4}),
    case("view", "subsample", SLOW),
    case("view", "subsample", SLOW, options={"factor": 3}),
    bitplanes(1),
    bitplanes(2, SLOW),
    bitplanes(5, SLOW),
    case("network", "pixelcnn", SLOW, options={"filters": 3, "blocks": 1, "head": MIXTURE}),
    case("network", "pixelcnn++", SLOW, options={"filters": 2, "nr_resnet": 1, "head": MIXTURE}),
    case("network", "convnet", options={"filters": 3, "hidden": 2, "blocks": 1}),
    case("network", "transformer", SLOW, options=TRANSFORMER | {"head": MIXTURE}),
    case("network", "transformer", SLOW, options=TRANSFORMER | {"head": softmax()}),
    case("embedding", "resnet", options={"filters": 3, "blocks_per_group": 1}),
    case("embedding", "convnet", options={"filters": 3, "hidden": 2, "blocks": 1}),
    *(case("embedding", name, options=SMALL, pairs=pairs) for name, pairs in CONDITIONS.items()),
    case("head", "softmax"),
    case("head", "logistic_mixture", options={"components": 1}),
    case("head", "logistic_mixture", SLOW, options={"components": 3}),
    case("sampler", "wavefront", SLOW),
    case("sampler", "cached", SLOW),
    case("sampler", "stepwise", networks=stepwise_networks),
    *(case("optimizer", name) for name in REGISTRY.names("optimizer")),
    case("dataset", "letters", SLOW, image=ImageSpec(1, height=32, width=32, levels=16), splits=["train", "test"]),
    *(case("model", name, most_bytes=6_600_000) for name in REGISTRY.names("model")),
]


@pytest.fixture(params=[pytest.param(3, id="a third"), pytest.param(1, id="all", marks=SLOW)])
def examples(request, monkeypatch):
    """Lets checks try a third of their examples, to save time, or all."""
    for module in (distributions, embeddings, heads, samplers, supports, views):
        monkeypatch.setattr(module, "EXAMPLES", module.EXAMPLES // request.param)


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize(("kind", "name", "options", "arguments"), SHIPPED)
def test_a_shipped_component_keeps_the_contract(kind, name, options, arguments):
    if callable(networks := arguments.get("networks")):
        arguments = arguments | {"networks": networks()}
    with keeps_state("the check", random=kind not in ("view", "head")):  # New weights are random.
        CHECKS[kind](*built(kind, name, options), **arguments)


@pytest.mark.parametrize("name", REGISTRY.names("rule"))
def test_a_shipped_rule_keeps_the_contract(name):
    build, config = built("rule", name, {})
    check_rule(build(config))


@pytest.mark.parametrize("name", REGISTRY.names("augmentation"))
def test_a_shipped_augmentation_keeps_the_contract(name):
    build, config = built("augmentation", name, {})
    check_augmentation(build(config))


@attrs.frozen
class Fitted:
    """Options with a path in a table."""

    @attrs.frozen
    class Palette:
        files: tuple[Path | None, ...] = ()

    palette: Palette = Palette()


BUILT: tuple[Any, ...] = (
    *(check_view, check_network, check_prior, check_decoder, check_embedding, check_head, check_sampler),
    check_optimizer,
)


@pytest.mark.parametrize(
    "check", [check_rule, check_augmentation, *(functools.partial(check, None) for check in BUILT)]
)
def test_options_with_paths_break_the_contract(check):
    assert "the option 'palette' of Fitted is the path of a file" in breaks("options", check, Fitted())


def test_every_shipped_component_is_checked():
    # `raster` is the reference, `auto` chooses among the others, and the tests of `emoji` check it with few images.
    checked = {(case.values[0], case.values[1]) for case in SHIPPED}
    left = {(kind, name) for kind in CHECKS for name in REGISTRY.names(kind)} - checked
    assert left == {("dataset", "emoji"), ("sampler", "auto"), ("sampler", "raster")}
