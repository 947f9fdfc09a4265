"""Tests of which layer's output is an input of which other layer, in PixelCNN++ networks and embeddings."""

from typing import Any

import torch
from helpers.causal_networks import random_features, random_images, randomized
from torch.nn.functional import elu

from auxar.interfaces import ImageSpec
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_pixelcnn.embedding import EnlargingEmbedding, SameSizeEmbedding
from auxar_pixelcnn.networks import FullNetwork, LightNetwork

IMAGE = ImageSpec(1, height=10, width=6)
HEAD = LogisticMixtureHead(IMAGE, 1)


class Run:
    """One run of a network, with the inputs and the output of each of its modules."""

    def __init__(self, network, *inputs):
        self.calls: dict[torch.nn.Module, tuple[tuple[Any, ...], Any]] = {}
        randomized(network, 0)
        for module in network.modules():
            module.register_forward_hook(lambda module, given, found: self.calls.update({module: (given, found)}))
        with torch.no_grad():
            network(*inputs)

    def output(self, module, *inputs):
        """The output of a module, whose tensor inputs must be the given ones."""
        given, found = self.calls[module]
        tensors = [value for value in given if isinstance(value, torch.Tensor)]
        assert len(tensors) == len(inputs)
        assert all(one is other for one, other in zip(tensors, inputs, strict=True))
        return found

    def start(self, network):
        """The output of the module `start`."""
        return self.calls[network.start][1]

    def check_end(self, network, x):
        """Checks that the last layer reads the ELU of `x`."""
        assert torch.equal(self.calls[network.out][0][0], elu(x))


def last_output(run, x, network, blocks_of, shrink, grow, above=lambda block: (), sides=((), (), ())):
    """The last output of one stream, whose layers must be connected as in figure 2 of Salimans et al. 2017.

    Every output on the way down is an input of one block on the way up, in reverse order. `above` gives the inputs of a
    block that come before this one, and `sides` gives those of each resolution, which come after it.
    """
    down = [x]
    for resolution, group in enumerate(network.down):
        if resolution:
            down.append(run.output(shrink[resolution - 1], down[-1]))
        for block in blocks_of(group):
            down.append(run.output(block, down[-1], *above(block), *sides[resolution]))
    x = down.pop()
    for step, group in enumerate(network.up):
        for block in blocks_of(group):
            x = run.output(block, x, *above(block), down.pop(), *sides[2 - step])
        if step < 2:
            x = run.output(grow[step], x)
    assert not down
    return x


def test_the_light_network_is_connected_as_in_the_paper():
    network = LightNetwork(IMAGE, HEAD, filters=2, blocks=3, features_channels=1, dropout=0.0).double()
    features = random_features(network, 1)
    run = Run(network, network.encode(random_images(1, IMAGE)), features)
    u, ul = run.start(network)
    for u_block, ul_block in zip(network.u_blocks, network.ul_blocks, strict=True):
        u = run.output(u_block, u, features)
        ul = run.output(ul_block, ul, u, features)
    run.check_end(network, ul)


def test_the_full_network_is_connected_as_in_the_paper():
    network = FullNetwork(IMAGE, HEAD, filters=2, nr_resnet=2, features_channels=1, dropout=0.0).double()
    features = random_features(network, 1)
    run = Run(network, network.encode(random_images(1, IMAGE)), features)
    sides = [(features,)]
    for layer in network.shrink_features:
        sides.append((run.output(layer, *sides[-1]),))
    above = {
        block: run.calls[other][1]
        for group in (*network.down, *network.up)
        for block, other in zip(group.ul_blocks, group.u_blocks, strict=True)
    }
    u, ul = run.start(network)
    last_output(run, u, network, lambda group: group.u_blocks, network.shrink_u, network.grow_u, sides=sides)
    layers = network.shrink_ul, network.grow_ul
    ul = last_output(run, ul, network, lambda group: group.ul_blocks, *layers, lambda block: (above[block],), sides)
    run.check_end(network, ul)


def test_an_embedding_of_the_images_size_is_connected_like_one_stream():
    network = SameSizeEmbedding(IMAGE, IMAGE, filters=2, blocks=2, dropout=0.0)
    run = Run(network, random_images(1, IMAGE))
    x = last_output(run, run.start(network), network, lambda group: group.blocks, network.shrink, network.grow)
    run.check_end(network, x)


def test_an_enlarging_embedding_is_connected_as_in_the_paper():
    view = ImageSpec(1, height=5, width=3)
    network = EnlargingEmbedding(view, IMAGE, factor=2, filters=2, blocks=2, dropout=0.0)
    run = Run(network, random_images(1, view))

    def falling(group, x, skips):
        for block in group.blocks:
            x = run.output(block, x)
            skips.append(x)
        return x

    def rising(group, x, skips):
        for block in group.blocks:
            x = run.output(block, x, skips.pop())
        return x

    fine: list[torch.Tensor] = []
    coarse: list[torch.Tensor] = []
    x = run.output(network.shrink, falling(network.first, run.start(network), fine))
    x = rising(network.third, falling(network.second, x, coarse), coarse)
    x = rising(network.fourth, run.output(network.grow, x), fine)
    run.check_end(network, falling(network.fifth, run.output(network.enlarge, x), []))
