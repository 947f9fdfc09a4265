"""The contract of samplers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.errors import UserError
from auxar.interfaces import CausalNetwork, DrawRule, Draws, ImageSpec, Known, Sampler
from auxar.plugins import Registry, load_plugins
from auxar.testing.examples import RULES, SEEDS, random_images, randomized
from auxar.testing.laws import ContractError, broken, described, runs, search
from auxar.testing.networks import reference_sampler

EXAMPLES = 20
IMAGES = [
    ImageSpec(channels, height=height, width=width, levels=levels)
    for (height, width), channels, levels in [
        ((1, 1), 1, 2),
        ((1, 4), 3, 16),
        ((5, 1), 1, 256),
        ((3, 4), 3, 256),
        ((6, 7), 1, 4),
        ((7, 5), 3, 256),
    ]
]


def check_sampler(
    build: Callable[[Any], Sampler], config: object, *, networks: Sequence[CausalNetwork] | None = None
) -> None:
    """Looks for a network from which the sampler that `build(config)` makes draws another image than it should.

    The laws: `equality` (in float64 the values that one pass of the network for each pixel gives, for every rule and
    with known pixels), `shape`, `dtype`, `range`, `batch` (an image does not depend on those drawn with
    it), `mode` (the network is in evaluation while it is drawn from, and as before afterwards), `weights` (left as
    they were), `runs`. `networks` are drawn from with random weights of their own copies; by default small ones of the
    shipped kinds, with and without features, that `Sampler.check` takes. Raises `ContractError`.
    """
    sampler = build(config)
    if not isinstance(sampler, Sampler):
        broken("spec", f"build makes a {type(sampler).__name__}, expected an auxar.interfaces.Sampler")
    reference = reference_sampler()
    given = [randomized(copy.deepcopy(network), k) for k, network in enumerate(networks or ())]
    chosen = given or _accepted(sampler)

    def check(place: int, seed: int, count: int, rule: DrawRule, level: int, share: float) -> None:
        network = chosen[place]
        indices = tuple(range(seed, seed + 7 * count, 7))
        draws = Draws(seed, indices, rule, level)
        features, known = _features(network, count, seed), _known(network.image, count, seed, share)
        with runs("the reference sampler", network=type(network).__name__):
            expected = reference.sample(network, features, draws, known)
        before = copy.deepcopy(network.state_dict())
        for training in (False, True):
            network.train(training)
            with runs("the sampler", image=network.image, rule=rule):
                found = sampler.sample(network, features, draws, known)
            if network.training is not training:
                broken("mode", f"the network was {'' if training else 'not '}in training before, and is otherwise now")
            _check_equal(network, found, expected, rule, known, training)
            network.eval()
        if not all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items()):
            broken("weights", "the sampler changed weights or buffers of the network")
        _check_batch(sampler, network, features, draws, known, found)

    search(
        check,
        EXAMPLES,
        place=st.integers(0, len(chosen) - 1),
        seed=SEEDS,
        count=st.integers(1, 3),
        rule=RULES,
        level=st.integers(0, 2),
        share=st.sampled_from([0.0, 0.5, 1.0]),
    )


def _check_equal(
    network: CausalNetwork, found: Tensor, expected: Tensor, rule: DrawRule, known: Known | None, training: bool
) -> None:
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        broken("shape", f"expected {tuple(expected.shape)}, got {described(found)}")
    if found.dtype != torch.int64:
        broken("dtype", f"expected torch.int64, got {found.dtype}")
    if int(found.min()) < 0 or int(found.max()) >= network.image.levels:
        broken("range", f"a drawn image leaves [0, {network.image.levels})", drawn=found)
    if not torch.equal(found, expected):
        wrong = (found != expected).any(1).nonzero()[0].tolist()
        law = "mode" if training else "equality"
        broken(
            law,
            f"{'of a network in training mode ' if training else ''}the first pixel that differs is in image "
            f"{wrong[0]}, row {wrong[1]}, column {wrong[2]}",
            network=type(network).__name__,
            image=network.image,
            rule=rule,
            known="none" if known is None else f"{int(known.mask.sum())} pixels",
        )


def _check_batch(
    sampler: Sampler, network: CausalNetwork, features: Tensor | None, draws: Draws, known: Known | None, found: Tensor
) -> None:
    last = len(draws.indices) - 1
    with runs("the sampler, for a single image", image=network.image):
        alone = sampler.sample(
            network,
            None if features is None else features[last:],
            Draws(draws.seed, draws.indices[last:], draws.rule, draws.level),
            None if known is None else known.of(slice(last, None)),
        )
    if not torch.equal(alone, found[last:]):
        broken("batch", "an image depends on those that are drawn with it", alone=alone, in_batch=found[last:])


def _accepted(sampler: Sampler) -> list[CausalNetwork]:
    networks, reasons = [], []
    for seed, network in enumerate(_networks(load_plugins())):
        try:
            sampler.check(network)
        except UserError as error:
            reasons.append(str(error))
        else:
            networks.append(randomized(network, seed))
    if not networks:
        raise ContractError("build", f"none of the shipped networks is accepted; pass networks=…: {reasons[0]}")
    return networks


def _networks(registry: Registry) -> list[CausalNetwork]:
    """Small ones of the kinds that auxar ships."""
    sizes: dict[str, dict[str, Any]] = {
        "pixelcnn": {"filters": 3, "blocks": 2, "components": 2},
        "pixelcnn++": {"filters": 2, "nr_resnet": 1, "components": 2},
    }
    found = []
    for name, options in sizes.items():
        prior, decoder = (registry.get(kind, name, "auxar.testing") for kind in ("prior", "decoder"))
        for place, image in enumerate(IMAGES):
            head = "softmax" if place % 3 == 0 else "logistic_mixture"
            found.append(prior.build(prior.config(**options, head=head), image).network)
            found.append(decoder.build(decoder.config(**options, head=head), image, 2).network)
    return found


def _features(network: CausalNetwork, count: int, seed: int) -> Tensor | None:
    if not network.features_channels:
        return None
    shape = (count, network.features_channels, network.image.height, network.image.width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _known(image: ImageSpec, count: int, seed: int, share: float) -> Known | None:
    if not share:
        return None
    mask = torch.rand(count, image.height, image.width, generator=torch.Generator().manual_seed(seed)) < share
    return Known(random_images(count, image, seed), mask)
