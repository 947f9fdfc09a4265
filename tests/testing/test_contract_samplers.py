"""Every law of samplers catches one that breaks it."""

import itertools

import attrs
import pytest
import torch
from helpers.right_network import Net

from auxar.interfaces import ImageSpec, Sampler
from auxar.testing import ContractError, check_sampler
from auxar_samplers import RasterSampler


class Copy(RasterSampler):
    """What the broken ones differ from in one thing."""


class Deaf(Copy):
    def sample(self, network, features, draws, known=None, walk=None):
        return super().sample(network, features, draws, None, walk)


class OneNoise(Copy):
    def sample(self, network, features, draws, known=None, walk=None):
        return super().sample(network, features, attrs.evolve(draws, depth=0), known, walk)


class Leader(Copy):
    """All images with the features of the first."""

    def sample(self, network, features, draws, known=None, walk=None):
        features = None if features is None else features[:1].expand_as(features)
        return super().sample(network, features, draws, known, walk)


class Waker(Copy):
    def sample(self, network, features, draws, known=None, walk=None):
        found = super().sample(network, features, draws, known, walk)
        network.train()
        return found


class Short(Copy):
    def sample(self, network, features, draws, known=None, walk=None):
        return super().sample(network, features, draws, known, walk).to(torch.uint8)


class Heavy(Copy):
    @torch.no_grad()
    def sample(self, network, features, draws, known=None, walk=None):
        found = super().sample(network, features, draws, known, walk)
        next(network.parameters()).mul_(2)
        return found


class Stray(Copy):
    """Draws whatever its walk leaves possible."""

    def sample(self, network, features, draws, known=None, walk=None):
        return super().sample(network, features, draws, known)


class Unbounded(Copy):
    """Draws pixels that are not known whatever their intervals."""

    def sample(self, network, features, draws, known=None, walk=None):
        return super().sample(network, features, draws, known and attrs.evolve(known, between=None), walk)


class Overwriting(Copy):
    """Draws known pixels where it follows a walk."""

    def sample(self, network, features, draws, known=None, walk=None):
        return super().sample(network, features, draws, None if walk else known, walk)


class Forgetful(Copy):
    """Does not tell its walk what it has drawn."""

    def sample(self, network, features, draws, known=None, walk=None):
        if walk is not None:
            walk.take = lambda *arguments: None
        return super().sample(network, features, draws, known, walk)


class Simple(Copy):
    """Knows of no walks."""

    restricts = False

    def sample(self, network, features, draws, known=None):
        return super().sample(network, features, draws, known)


class Teacher(Sampler):
    """Draws all pixels at once, which is not how the model draws them."""

    @torch.no_grad()
    def sample(self, network, features, draws, known=None):
        image = torch.zeros(len(draws.indices), *network.image.shape, dtype=torch.int64)
        parameters = network.eval()(network.encode(image), features)
        noise = draws.uniforms((network.head.uniform_count, *network.image.shape[1:]))
        places = itertools.product(range(network.image.height), range(network.image.width))
        for row, column in places:
            at = parameters[:, :, row, column], noise[:, :, row, column]
            image[:, :, row, column] = network.head.draw(*at, draws.rule)
        return image


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Deaf, "equality"),
        (OneNoise, "equality"),
        (Leader, "equality"),
        (Waker, "mode"),
        (Short, "dtype"),
        (Heavy, "weights"),
        (Teacher, "equality"),
        (Stray, "equality"),
        (Unbounded, "equality"),
        (Overwriting, "equality"),
        (Forgetful, "equality"),
    ],
)
def test_a_broken_sampler_is_caught(kind, law):
    image = ImageSpec(1, height=3, width=2, levels=16)
    with pytest.raises(ContractError) as error:
        check_sampler(lambda config: kind(), None, networks=[Net(image, 0), Net(image, 2)])
    assert error.value.law == law


def test_a_sampler_is_checked_on_the_networks_it_is_meant_for():
    image = ImageSpec(1, height=3, width=3, levels=4)
    networks = [Net(image, 0), Net(image, 2)]
    before = [parameter.clone() for network in networks for parameter in network.parameters()]
    for kind in (Copy, Simple):
        check_sampler(lambda config, kind=kind: kind(), None, networks=networks)
    after = [parameter for network in networks for parameter in network.parameters()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
