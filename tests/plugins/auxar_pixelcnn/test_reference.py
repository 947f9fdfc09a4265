"""Tests that every layer of the PixelCNN++ networks and embeddings computes what a plain NumPy implementation computes.

The NumPy implementation is written from the papers. It also fixes which layer reads which other layer's output.
"""

import numpy as np
import pytest
import torch
from helpers.causal_networks import generator, random_images, randomized
from helpers.reference_pixelcnn import Reference

from auxar.model import ImageSpec, mark, scale
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_layers.convolutions import Convolution
from auxar_pixelcnn.blocks import GatedBlock
from auxar_pixelcnn.embedding import EnlargingEmbedding, SameSizeEmbedding
from auxar_pixelcnn.networks import FullNetwork, LightNetwork

IMAGE = ImageSpec(3, height=6, width=10)
"""At both coarser resolutions, its height or its width is odd."""
HEAD = LogisticMixtureHead(IMAGE, 1)
UP = (2, 3, 3)
"""The numbers of blocks on the way up, for `nr_resnet` = 2."""


def random_weights(module):
    """Returns the module in float64, with outputs of about the size of trained ones, and biases that are not small."""
    noise = generator(0)
    for name, parameter in module.double().eval().named_parameters():
        spread = {"direction": 1.0, "gain": 0.5, "bias": 0.5}[name.split(".")[-1]]
        parameter.data = torch.randn(parameter.shape, generator=noise, dtype=torch.float64) * spread
    return module


def by_place(x):
    """The values of the only image of a batch, (1, c, h, w), with the axes (row, column, channel)."""
    return x.detach()[0].permute(1, 2, 0).numpy()


def check(module, inputs, blocks, compute):
    """Checks that all layers and blocks of a module have the outputs of the reference, and are all used."""
    found = {}
    for name, part in random_weights(module).named_modules():
        if isinstance(part, Convolution | GatedBlock):
            part.register_forward_hook(lambda part, given, output, name=name: found.update({name: output}))
    with torch.no_grad():
        output = module(*inputs)
    weights = {name: parameter.numpy() for name, parameter in module.state_dict().items()}
    reference = Reference(weights, blocks)
    assert np.array_equal(by_place(output), by_place(found["out"]))
    compute(reference)
    # The reference lists its outputs in the order of computation, so the first difference names the layer with it.
    for name, expected in reference.outputs.items():
        np.testing.assert_allclose(by_place(found[name]), expected, rtol=0, atol=1e-12, err_msg=name)
    assert found.keys() == reference.outputs.keys()


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("channels", [0, 2])
def test_the_light_network_computes_what_the_reference_computes(channels, kernel):
    sizes = {"filters": 3, "blocks": 2, "features_channels": channels, "kernel": kernel}
    network = LightNetwork(IMAGE, HEAD, **sizes, dropout=0.5)
    inputs, features = inputs_of(network, channels)
    check(network, inputs, 2, lambda reference: reference.light(by_place(inputs[0]), features))


@pytest.mark.parametrize(("channels", "kernel"), [(0, 2), (2, 3)])
def test_the_full_network_computes_what_the_reference_computes(channels, kernel):
    sizes = {"filters": 2, "nr_resnet": 2, "features_channels": channels, "kernel": kernel}
    network = FullNetwork(IMAGE, HEAD, **sizes, dropout=0.5)
    inputs, features = inputs_of(network, channels)
    check(network, inputs, UP, lambda reference: reference.full(by_place(inputs[0]), features))


def inputs_of(network, channels):
    """The inputs of a network, and the features as a list, which is empty if the network has none."""
    image = network.double().encode(random_images(1, IMAGE))
    if not channels:
        return [image], []
    features = torch.randn((1, channels, *IMAGE.shape[1:]), generator=generator(1), dtype=torch.float64)
    return [image, features], [by_place(features)]


@pytest.mark.parametrize("factor", [2, 3])
def test_an_enlarging_embedding_computes_what_the_reference_computes(factor):
    view = ImageSpec(3, height=5, width=4)
    image = ImageSpec(3, height=5 * factor, width=4 * factor)
    embedding = EnlargingEmbedding(view, image, factor=factor, filters=3, blocks=2, dropout=0.5)
    images = random_images(1, view)
    encoded = by_place(mark(scale(images, view.levels, torch.float64)))
    size = image.shape[1:]
    check(embedding, [images], 2, lambda reference: reference.enlarging(encoded, size, factor))


def test_an_embedding_of_the_images_size_computes_what_the_reference_computes():
    embedding = SameSizeEmbedding(IMAGE, IMAGE, filters=3, blocks=2, dropout=0.5)
    images = random_images(1, IMAGE)
    encoded = by_place(mark(scale(images, IMAGE.levels, torch.float64)))
    check(embedding, [images], UP, lambda reference: reference.same_size(encoded))


def test_a_decoder_of_the_released_code_has_its_number_of_parameters():
    """The decoder of the released pyramid model has 3 blocks for each stream, 100 filters and 10 components."""
    head = LogisticMixtureHead(IMAGE, 10)
    sizes = {"filters": 100, "blocks": 3, "features_channels": 100}
    for kernel, expected in ((2, 2_000_000), (3, 3_440_000)):
        network = LightNetwork(IMAGE, head, **sizes, dropout=0.5, kernel=kernel)
        assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("size", [(5, 7), (8, 8)])
def test_the_full_network_sees_all_that_comes_before(size):
    """The full network also works at a quarter of the resolution, where its layers reach all earlier pixels."""
    spec = ImageSpec(1, height=size[0], width=size[1])
    network = FullNetwork(spec, LogisticMixtureHead(spec, 2), filters=4, nr_resnet=2, features_channels=0, dropout=0.0)
    inputs = randomized(network, 0).encode(random_images(1, spec)).requires_grad_()
    found = network(inputs)
    found[0, :, -1, -1].sum().backward()
    assert inputs.grad[0, 0].flatten()[:-1].all()
    other = inputs.detach().clone()
    other[:, 0, 0, 0] += 0.1
    assert (network(other) != found).any(1).flatten()[1:].all()
