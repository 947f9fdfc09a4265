"""Tests that contract checks of priors and decoders fail for faults of networks and heads, and pass for valid ones."""

import random

import pytest
import torch
from helpers.contract import alternately, before, breaks, cases, mutant, setting, then
from helpers.right_embedding import Features
from helpers.right_network import Net
from torch import nn

from auxar.model import CausalDistribution, ImageSpec, RecomputableBlock, StepwiseNetwork
from auxar.testing import ContractError, check_decoder, check_embedding, check_network, check_prior
from auxar.testing.causality import check_causality, check_some_causality, check_steps
from auxar.testing.examples import random_images, randomized
from auxar.testing.modules import check_recomputation, check_training
from auxar.testing.networks import Distribution

TINY = [ImageSpec(1, height=2, width=2, levels=3), ImageSpec(3, height=1, width=1, levels=3)]
"""Image specs with which a mutant is built. The defaults of the checks would take longer."""
IMAGE = ImageSpec(3, height=3, width=4)


def net(law, forward=None, **edits):
    return law, mutant(Net, **edits | ({"forward": forward} if forward else {}))


def prior_of(network=Net):
    return lambda config, image: CausalDistribution(network(image, 0))


def decoder_of(network=Net):
    return lambda config, image, channels: CausalDistribution(network(image, channels))


def parameter(module):
    return nn.Parameter(torch.zeros(1))


def dividing(self, right, image, features=None):
    return right(image, features) / (1 - image.mean((1, 2, 3), keepdim=True))


def scaled(factor):
    """An edit that multiplies the parameters by a number, which is computed from the network and the image."""
    return lambda self, right, image, features=None: right(image, features) * factor(self, image)


def blind(self, right, image, features=None):
    return right(image, None if features is None else features * 0)


def beyond_columns(self, right, image, features=None):
    """A pixel sees its successor if there are many columns."""
    found = right(image, features)
    return found + image.roll(-1, 3).mean(1, keepdim=True) if image.shape[3] > 8 else found


def in_the_corner(self, right, image, features=None):
    """The last pixel sees itself."""
    found = right(image, features)
    found[:, :, -1, -1] += image[:, :1, -1, -1]
    return found


def leaking_in_training(self, right, image, features=None):
    """All pixels see each other in training mode, as if normalized over the image."""
    found = right(image, features)
    return found - found.mean((2, 3), keepdim=True) if self.training else found


def dropping_in_training(self, right, image, features=None):
    return nn.functional.dropout(right(image, features), 0.5, self.training)


def centered(found):
    return found - found.mean(0, keepdim=True)


def initialized_outside(self, right, image, features=None, centers=None):
    self.gain = 0.5


def infinite_at_first(self, right, image, features=None, centers=None):
    nn.init.constant_(self.out.bias, torch.inf)


def neighbors(found):
    """Encoded pixels, each with the pixel before it, which is causal."""
    return found + 0.5 * nn.functional.pad(found, (1, 0))[..., :-1]


PRIORS = {
    "ahead": net("causality", offset=1),
    "size in a weight": net(
        "any_size", scaled(lambda self, image: self.side), __init__=setting(side=lambda self: self.image.height)
    ),
    "of its own size": net("any_size", at=lambda self, right, image: self),
    "unused": net("gradient", __init__=setting(spare=parameter)),
    "dividing": net("finite", dividing),
    "stuck": net("mode", initialize=lambda self, right, *given: self.eval()),
    "neighbors": net("encode", encode=then(neighbors)),
    "too few parameters": net("shape", then(lambda found: found[:, :-1])),
    "half precision": net("dtype", then(lambda found: found.half())),
}
SMALL = {
    "other in single": net("precision", scaled(lambda self, image: 0.9 if image.dtype == torch.float32 else 1.0)),
    "of many": net("batch", then(lambda found: centered(found) if len(found) > 16 else found)),
    "with gradients": net("gradient", scaled(lambda self, image: 0.9 if torch.is_grad_enabled() else 1.0)),
    "initialized outside": net("save", scaled(lambda self, image: self.gain), gain=1.0, initialize=initialized_outside),
}
"""Networks that are right in small checks only."""
SINGLE = {
    "vectors": (*net("encode", encode=then(lambda found: found.flatten(1))), check_causality),
    "one parameter": (*net("shape", then(lambda found: found[:, :1])), check_causality),
    "infinite at first": (*net("finite", initialize=infinite_at_first), check_training),
    "steep": (
        *net("gradient", scaled(lambda self, image: 1 + (0 * self.gain).sqrt()), __init__=setting(gain=parameter)),
        check_training,
    ),
}
"""Faults that the checks before would not find."""


@pytest.mark.parametrize(("law", "network"), cases(PRIORS))
def test_a_broken_network_is_caught_as_prior(law, network):
    breaks(law, check_prior, prior_of(network), None, images=TINY)


@pytest.mark.usefixtures("one_example")
def test_a_network_that_reads_no_features_is_caught():
    network = mutant(Net, forward=blind)
    breaks("gradient", check_network, lambda config, image, channels: network(image, channels), None, images=TINY)


@pytest.mark.parametrize(("law", "network"), cases(SMALL))
@pytest.mark.filterwarnings("ignore:the laws normalization, draws and restricted were not checked")
def test_a_network_that_is_right_in_small_checks_only_is_caught(law, network):
    image = ImageSpec(1, height=3, width=3, levels=4)
    breaks(law, check_decoder, decoder_of(network), None, images=[image], features=[2])


@pytest.mark.parametrize(("law", "network", "check"), cases(SINGLE))
def test_a_check_finds_the_fault(law, network, check):
    model = Distribution(randomized(CausalDistribution(network(TINY[0], 2)), 0), TINY[0], 2)
    arguments = (model.network, model.features(1, 0)) if check is check_causality else (model,)
    breaks(law, check, *arguments, 0)


@pytest.mark.parametrize("forward", [beyond_columns, in_the_corner])
def test_a_network_that_is_causal_for_small_images_only_is_caught(forward):
    network = mutant(Net, forward=forward)(ImageSpec(height=32, width=32), 0)
    breaks("causality", check_some_causality, randomized(network, 0), None, 0)


def test_a_network_that_is_causal_in_evaluation_mode_only_is_caught():
    image = ImageSpec(1, height=3, width=4)
    check_some_causality(randomized(mutant(Net, forward=dropping_in_training)(image, 0), 0), None, 0)
    leaking = randomized(mutant(Net, forward=leaking_in_training)(image, 0), 0)
    found = breaks("causality", check_some_causality, leaking, None, 0)
    assert "or on one after it, in training mode" in found


@pytest.mark.usefixtures("one_example")
def test_what_was_not_checked_is_said():
    with pytest.warns(UserWarning, match="normalization, draws and restricted were not checked"):
        check_prior(prior_of(), None, images=[ImageSpec(1, height=3, width=3, levels=4)])


class Frozen(Net):
    """A valid network with an untrained layer that stays in evaluation mode."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.above.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.above.eval()
        return self


# Other tests check right networks that ship or are in the documentation.
@pytest.mark.slow
def test_right_networks_pass_as_priors_and_as_decoders():
    # Before training, the last one predicts the same everywhere.
    silent = mutant(Net, forward=scaled(lambda self, image: self.gain), __init__=setting(gain=parameter))
    for build in (prior_of(), prior_of(Frozen)):
        check_prior(build, None)
    for build in (decoder_of(), decoder_of(silent)):
        check_decoder(build, None)
    check_decoder(decoder_of(), None, features=[4])


# Networks that predict step by step


class Stepwise(Net, StepwiseNetwork):
    """A network whose steps keep the whole image so far."""

    def stepper(self, count, features):
        channels, height, width = self.image.shape
        image = torch.zeros(count, channels, height * width, dtype=torch.float64)
        place = -1

        def predict(previous):
            nonlocal place
            if previous is not None:
                image[:, :, place] = previous
            place += 1
            return self(image.unflatten(2, (height, width)), features).flatten(2)[:, :, place]

        return predict


def of_the_last(self, right, count, features):
    """Steps belong to the images that were begun last."""
    self.__dict__["current"] = right(count, features)
    return lambda previous: self.__dict__["current"](previous)


def black(predict):
    return lambda previous: predict(None if previous is None else torch.zeros_like(previous))


STEPS = {
    "forgetful": (then(black), "the step for row 0, column 1 predicts other parameters than the network"),
    "featureless": (before(features=torch.zeros_like), "the step for row 0, column 0 predicts other parameters"),
    "of the last": (of_the_last, r"a step must be torch.float64 of shape \(2, "),
}


def check_stepper(kind):
    network = kind(IMAGE, 2).double().eval()
    check_steps(network, torch.randn(2, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), 0)


@pytest.mark.parametrize(("stepper", "message"), cases(STEPS))
def test_wrong_steps_are_caught(stepper, message):
    check_stepper(Stepwise)
    with pytest.raises(ContractError, match=f"^steps: .*{message}"):
        check_stepper(mutant(Stepwise, stepper=stepper))


def test_the_example_images_differ():
    """Equal pixels would hide steps that read the wrong pixel."""
    assert random_images(2, IMAGE, 0).unique().numel() > 20


# Blocks that are computed a second time


class Right(RecomputableBlock):
    """A valid block with random numbers of torch."""

    calls: torch.Tensor

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        return x + (torch.rand_like(x) * self.weight * x).exp()


def other_random(self, right, x):
    """Random numbers do not come from torch."""
    return x + (x * self.weight).exp() * (random.random() if self.training else 1.0)


def counting(self, right, x):
    """Calls in training are counted, as batch normalization does."""
    if self.training:
        self.calls += 1
    return (x * self.weight).exp()


def other_sizes():
    """The block computes with other sizes in the second call."""
    twice = alternately(lambda x: torch.cat([x, x]))
    return lambda self, right, x: twice(self, lambda x: x, x).mul(self.weight).exp()[: len(x)]


@pytest.mark.parametrize(
    ("law", "forward"), [("recompute", other_random), ("recompute", counting), ("runs", other_sizes())]
)
def test_a_block_that_cannot_be_recomputed_is_caught(law, forward):
    module = nn.Sequential(mutant(Right, forward=forward)())
    x = torch.linspace(0, 1, 12).view(4, 3)
    breaks(law, check_recomputation, module, lambda: module(x).sum())


def test_a_right_block_passes():
    module = nn.Sequential(Right(), nn.Linear(3, 3))
    state = torch.get_rng_state()
    check_recomputation(module, lambda: module(torch.ones(4, 3)).sum())
    assert torch.equal(torch.get_rng_state(), state)


def test_blocks_of_priors_and_embeddings_are_checked():
    def with_block(self, right, values, *others):
        found = right(values, *others)
        return found * self.block(torch.ones(3, dtype=found.dtype)).sum()

    edits = {"__init__": setting(block=lambda self: mutant(Right, forward=counting)()), "forward": with_block}
    image = ImageSpec(1, height=2, width=2, levels=2)
    breaks("recompute", check_prior, prior_of(mutant(Net, **edits)), None, images=[image])
    breaks("recompute", check_embedding, mutant(Features, **edits), None, pairs=[(image, image)])
