"""Tests that every contract check of samplers fails for a sampler that breaks its law."""

import contextlib
import copy
from typing import Any

import attrs
import pytest
import torch
from helpers.contract import before, breaks, cases, mutant, then
from helpers.marks import with_slow
from helpers.right_network import Net, PlainHead

from auxar.errors import UserError
from auxar.model import DrawSource, ImageSpec, Sampler, SampleRequest, evaluating
from auxar.testing import ContractError, check_sampler
from auxar.testing.examples import randomized
from auxar.testing.samplers import check_many
from auxar.testing.sources import NotingSource
from auxar_samplers import RasterSampler, WavefrontSampler

IMAGE = ImageSpec(1, height=3, width=2, levels=16)
WIDE = ImageSpec(1, height=2, width=5, levels=16)


class Stepping(Sampler):
    """A correct sampler that requests one place after the other from its source."""

    def steps(self, height, width):
        return [[place] for place in range(height * width)]

    def passed(self, parameters):
        return parameters

    @torch.no_grad()
    def sample(self, network, features, source):
        image = torch.zeros((source.count, *network.image.shape), dtype=torch.int64)
        with evaluating(network):
            for places in self.steps(*network.image.shape[1:]):
                parameters = network(network.encode(image), features).flatten(2)[:, :, places]
                pixels = source.pixels(torch.tensor(places), self.passed(parameters.permute(2, 0, 1).flatten(0, 1)))
                image.flatten(2)[:, :, places] = pixels.permute(1, 2, 0)
        return image


def sampling(law, sample):
    """A sampler whose images are drawn by another function."""
    return law, mutant(RasterSampler, sample=sample)


def drawing(law, change):
    """A sampler that changes each `DrawSource`, and leaves other sources as they are."""
    return sampling(law, before(source=lambda found: change(found) if isinstance(found, DrawSource) else found))


def stepping(law, **edits):
    return law, mutant(Stepping, **edits)


def with_features(change):
    """An edit of `sample` that changes features, if there are any."""
    return before(features=lambda features: None if features is None else change(features))


# Sources that a sampler changes


def forgetful(source):
    """Drawn values are not passed to the walk of a restricted decoder."""
    if source.walk is not None:
        source.walk.take = lambda *arguments: None
    return source


# Other ways of sampling


def hiding(self, right, network, features, source):
    """Images are black if the source fails."""
    with contextlib.suppress(ArithmeticError):
        return right(network, features, source)
    return torch.zeros(source.count, *network.image.shape, dtype=torch.int64)


def inverted_if(condition):
    """An edit of `sample` that inverts images on a condition."""

    def edit(self, right, network, features, source):
        found = right(network, features, source)
        return network.image.levels - 1 - found if condition(source) else found

    return edit


def keeping():
    """An edit of `sample` that keeps a network as it is at the first time."""
    kept: dict[object, Any] = {}

    def edit(self, right, network, features, source):
        return right(kept.setdefault(id(network), copy.deepcopy(network)).eval(), features, source)

    return edit


def afterwards(action):
    """An edit of `sample` that does something with the network and the features after drawing."""

    def edit(self, right, network, features, source):
        found = right(network, features, source)
        action(network, features)
        return found

    return edit


@torch.no_grad()
def heavier(network, features):
    next(network.parameters()).mul_(2)


def careless(self, right, network, features, source):
    """The network is left in evaluation mode if the source fails."""
    try:
        return right(network, features, source)
    except Exception:
        network.eval()
        raise


def beyond(self, right, network, features, source):
    return right(network, features, source) + network.image.levels


def only_draws(self, right, network, features, source):
    if not isinstance(source, DrawSource):
        source = DrawSource.of(network, SampleRequest(tuple(range(source.count))))
    return right(network, features, source)


MUTANTS = {
    "overwriting": drawing(
        "equality", lambda source: attrs.evolve(source, limits=source.limits if source.walk is None else None)
    ),
    "forgetful": drawing("equality", forgetful),
    "one temperature": drawing(
        "equality", lambda source: attrs.evolve(source, adjustments=attrs.evolve(source.adjustments, temperature=1.0))
    ),
    "inverting": sampling("source", inverted_if(lambda source: not isinstance(source, DrawSource))),
    "leader": sampling("equality", with_features(lambda features: features[:1].expand_as(features))),
    "rousing": sampling("mode", afterwards(lambda network, features: network.train(network.training))),
    "heavier": sampling("weights", afterwards(heavier)),
    "pairs": sampling("equality", then(lambda drawn: drawn[torch.arange(len(drawn)) % 2] if len(drawn) > 2 else drawn)),
    "short": sampling("dtype", then(lambda drawn: drawn.to(torch.uint8))),
    "turned": sampling("shape", then(lambda drawn: drawn.mT)),
    "beyond": sampling("range", beyond),
    "shy": sampling("batch", inverted_if(lambda source: source.count == 1)),
    "only draws": sampling("source", only_draws),
    "teacher": stepping("equality", steps=then(lambda steps: [[place for step in steps for place in step]])),
    "twice": stepping("source", steps=then(lambda steps: [step for step in steps for _ in range(2)])),
    # Shifted logits draw the same pixels, but are not the predictions.
    "normalizing": stepping("source", passed=then(lambda parameters: parameters - parameters.amax(1, keepdim=True))),
    "no sampler": ("spec", lambda: Net(IMAGE, 0)),
}
AFTERWARDS = {
    "hiding": sampling("source", hiding),
    "keeps the network": sampling("weights", keeping()),
    "careless": sampling("mode", careless),
    "checking": ("mode", mutant(RasterSampler, check=lambda self, right, network: network.eval())),
}
"""Faults that the check finds after the search."""


@pytest.mark.parametrize(("law", "kind"), cases(MUTANTS | AFTERWARDS))
@pytest.mark.usefixtures("first_example")
def test_a_broken_sampler_is_caught(law, kind, request):
    if (law, kind) in AFTERWARDS.values():
        request.getfixturevalue("one_example")
    breaks(law, check_sampler, lambda config: kind(), None, networks=[Net(IMAGE, 0), Net(IMAGE, 2)])


def few_columns(self, right, parameters):
    """Nothing is passed on for columns beyond the eighth."""
    self.place = getattr(self, "place", -1) + 1
    return parameters * (self.place % 12 < 8)


def eight_at_most(self, right, parameters):
    """At most 8 images are predicted at once, and the last prediction is passed on for all others."""
    return torch.cat([parameters[:8], parameters[7:8].expand(max(0, len(parameters) - 8), -1)])


@pytest.mark.parametrize(
    "kind",
    [
        mutant(Stepping, passed=eight_at_most),
        mutant(Stepping, passed=few_columns),
        mutant(RasterSampler, sample=with_features(lambda found: found * (found.dtype != torch.float32))),
    ],
    ids=["eight at most", "few columns", "no features in single precision"],
)
def test_a_sampler_that_is_right_for_few_small_images_in_float64_only_is_caught(kind):
    network = randomized(Net(attrs.evolve(WIDE, width=12), 2), 0)
    check_many(Stepping(), [network])
    with pytest.raises(ContractError, match=r"(?s)^source: .* in torch\.float32.*images = 17"):
        check_many(kind(), [network])


def changed(**values):
    """A function that copies a source with other attributes."""

    def change(source):
        found = copy.copy(source)
        for name, value in values.items():
            object.__setattr__(found, name, value)
        return found

    return change


@pytest.mark.parametrize(
    ("message", "edits"),
    [
        ("^source: .*rows above up to 2 columns to its right", {"program": before(source=changed(reach=0))}),
        (
            f"^order: a source with a lag of {WIDE.width} was asked for the places",
            {
                "program": before(source=changed(lag=None)),
                "lag": lambda self, right, network, reach=0: network.image.width,
            },
        ),
        ("^order: Sampler.lag must return an integer from 1 to the width", {"lag": then(lambda lag: WIDE.width + 1)}),
    ],
    ids=["reach", "lag", "lag beyond the width"],
)
@pytest.mark.usefixtures("first_example")
def test_a_sampler_that_ignores_the_order_of_its_source_is_caught(message, edits):
    # The head cannot be restricted. Restricted draws need the reach too, and would break another law first.
    with pytest.raises(ContractError, match=message):
        check_sampler(
            lambda config: mutant(WavefrontSampler, **edits)(), None, networks=[Net(WIDE, 0, PlainHead(WIDE))]
        )


def test_a_sampler_that_takes_no_shipped_network_is_asked_for_others():
    def refuse(*arguments):
        raise UserError("not this one")

    with pytest.raises(ContractError, match=r"build: the sampler accepts none of the default networks.*not this one"):
        check_sampler(lambda config: mutant(RasterSampler, check=refuse)(), None)


@pytest.mark.parametrize("kind", with_slow([Stepping, WavefrontSampler], WavefrontSampler))
def test_a_sampler_is_checked_on_the_networks_it_is_meant_for(kind):
    image = ImageSpec(1, height=3, width=3, levels=4)
    networks = [Net(image, 0), Net(image, 2)]
    before = [parameter.clone() for network in networks for parameter in network.parameters()]
    check_sampler(lambda config: kind(), None, networks=networks)
    after = [parameter for network in networks for parameter in network.parameters()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


# The source that checks its calls


def places_of(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(places_of(), 0)], r"places must be int64 of shape \(n,\)"),
        ([(places_of(0).int(), 1)], r"places must be int64 of shape \(n,\) with n ≥ 1, got torch.int32"),
        ([(places_of(0)[None], 1)], r"places must be int64 of shape \(n,\)"),
        ([(places_of(-1), 1)], r"places must lie in 0 … 5, got \[-1\]"),
        ([(places_of(6), 1)], r"places must lie in 0 … 5, got \[6\]"),
        ([(places_of(0), 2)], r"parameters must be floating point of shape \(2, 5\), got .* of shape \(4, 5\)"),
        ([(places_of(0), 1), (places_of(0), 1)], "row 0, column 0 was requested twice"),
        ([(places_of(1), 1)], "row 0, column 1 was requested too early: all pixels to its left"),
        ([(places_of(0, 1), 2)], "row 0, column 1 was requested too early: all pixels to its left"),
        ([(places_of(0), 1), (places_of(2), 1)], "row 1, column 0 was requested .* above up to 1 columns to its right"),
        ([(places_of(k), 1) for k in range(5)], "the sampler did not request every pixel"),
    ],
)
def test_a_source_says_how_it_is_misused(steps, message):
    source = NotingSource(torch.zeros(2, *IMAGE.shape), IMAGE, 5, reach=1)

    def use():
        for places, count in steps:
            source.pixels(places, torch.zeros(2 * count, 5))
        source.check_finished()

    with pytest.raises(ContractError, match=f"(?s)^source: .*{message}"):
        use()
