"""Tests of the network and the embedding `convnet`: formulas, reach, initialization, samplers, integers, recipes."""

import pytest
import torch
from helpers.causal_networks import SEEDS, generator, heads, random_features, random_images, randomized, specs
from helpers.values import values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d, pad, silu

from auxar.errors import UserError
from auxar.model import CausalDistribution, Factor, GivenView, ImageSpec
from auxar.numerics.threads import threads
from auxar_convnet import components
from auxar_convnet.components import ConvEmbeddingConfig, ConvNetworkConfig
from auxar_convnet.network import ConvNetwork
from auxar_heads import logistic_mixture
from auxar_layers.convolutions import CausalConv2d, UpsamplingConv2d
from auxar_layers.integer_convolutions import integer_layer
from auxar_pixelcnn.components import EmbeddingConfig, embedding
from auxar_pyramid import PyramidConfig, PyramidView

IMAGE = ImageSpec(3, height=8, width=10)
HALF = ImageSpec(3, height=4, width=5)


@st.composite
def conv_networks(draw, features=(0, 1, 5)):
    image = draw(specs())
    network = ConvNetwork(
        image,
        draw(heads(image)),
        filters=draw(st.integers(1, 4)),
        hidden=draw(st.integers(1, 3)),
        blocks=draw(st.integers(1, 3)),
        features_channels=draw(st.sampled_from(features)),
        dropout=0.5,
    )
    return randomized(network, draw(SEEDS))


def causal(x, weight, bias, last):
    """A convolution of the rows above and of the own row up to the column `last`, padded with zeros."""
    rows, columns = weight.shape[2] - 1, weight.shape[3] // 2
    weight = weight.clone()
    weight[:, :, -1, columns + last + 1 :] = 0
    return conv2d(pad(x, (columns, columns, rows, 0)), weight, bias)


@settings(deadline=None, max_examples=10)
@given(network=conv_networks(), seed=SEEDS)
def test_predictions_are_those_of_the_formulas(network, seed):
    weights = dict(network.named_parameters())
    image, features = network.encode(random_images(2, network.image, seed)), random_features(network, 2, seed)

    def layer(name, x, last=None):
        weight, bias = weights[f"{name}.kernel"], weights[f"{name}.bias"]
        return conv2d(x, weight, bias) if last is None else causal(x, weight, bias, last)

    with torch.no_grad():
        if features is None:
            x = layer("start", image, -1)
        else:
            difference = layer("difference", torch.cat([image, features], 1))
            x = layer("start", difference, -1) + layer("features", features)
        for number in range(len(network.blocks)):
            hidden = silu(layer(f"blocks.{number}.convolution", x, 0))
            x = x + layer(f"blocks.{number}.project", hidden)
        expected = layer("out", x)
        found = network(network.encode(random_images(2, network.image, seed)), features)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


# Embedding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initialized", [False, True])
@pytest.mark.parametrize("view", [HALF, ImageSpec(1, height=8, width=10, levels=4), ImageSpec(3, height=8, width=4)])
def test_the_first_features_are_the_view(view, initialized):
    embedding = components.embedding(ConvEmbeddingConfig(5, 4, 1), view, IMAGE).double()
    images = random_images(4, view)
    if initialized:
        embedding.initialize(images)
    found = embedding(images)
    assert found.shape == (4, 3 + 5, IMAGE.height, IMAGE.width)
    rows, columns = IMAGE.height // view.height, -(-IMAGE.width // view.width)
    enlarged = images.repeat_interleave(rows, 2).repeat_interleave(columns, 3)[..., : IMAGE.width]
    expected = enlarged.expand(-1, 3, -1, -1).double() / (view.levels - 1) * 2 - 1
    torch.testing.assert_close(found[:, :3], expected)
    assert not embedding.enlarge.kernel.requires_grad


def test_a_learned_feature_depends_on_the_pixels_of_the_view_around_it():
    view = ImageSpec(1, height=9, width=9)
    image = ImageSpec(1, height=18, width=18)
    embedding = randomized(components.embedding(ConvEmbeddingConfig(3, 3, 2), view, image), 0)
    before = random_images(1, view)
    after = before.clone()
    after[..., 4, 4] = (after[..., 4, 4] + 100) % 256
    with torch.no_grad():
        changed = (embedding(before) != embedding(after))[0, 1:].any(0)
    # The first convolution and those of two blocks reach a pixel of the view each.
    expected = torch.zeros(18, 18, dtype=torch.bool)
    expected[2 * (4 - 3) : 2 * (4 + 3) + 2, 2 * (4 - 3) : 2 * (4 + 3) + 2] = True
    assert torch.equal(changed, expected)


@pytest.mark.parametrize("view", [HALF, ImageSpec(3, height=8, width=5)])
def test_with_a_grid_an_embedding_knows_the_place_of_each_pixel(view):
    """The learned features of a constant view repeat with the grid, far from the border, and not within a square."""
    image = ImageSpec(3, height=8, width=10)
    tall = ImageSpec(3, height=4 * view.height, width=4 * view.width), ImageSpec(3, height=32, width=40)
    for grid, period in ((0, 2), (4, 4)):
        made = randomized(components.embedding(ConvEmbeddingConfig(4, 4, 1, grid=grid), view, image), 0)
        found = made.at(*tall)(torch.full((1, *tall[0].shape), 77))[0, 3:, 8:24, 8:24]
        assert torch.allclose(found[:, period:], found[:, :-period])
        assert torch.allclose(found[..., period:], found[..., :-period])
    assert not torch.allclose(found[:, 2:], found[:, :-2])
    assert not torch.allclose(found[..., 2:], found[..., :-2])
    views = random_images(2, view)
    encoded = made.encode_integers(views)
    torch.testing.assert_close(made.encoded.step * encoded, made.encode(views).double())
    assert made.encoded.channels == encoded.shape[1]


def test_a_grid_that_is_no_multiple_of_the_factor_is_refused():
    with pytest.raises(UserError, match="grid: expected 0 or a multiple of the view's factor 5, got 4"):
        components.embedding(ConvEmbeddingConfig(grid=4), ImageSpec(height=2, width=2), ImageSpec(height=10, width=10))


def test_a_view_of_another_shape_is_refused():
    with pytest.raises(UserError, match="must be multiples"):
        components.embedding(ConvEmbeddingConfig(), ImageSpec(height=5, width=10), IMAGE)
    with pytest.raises(UserError, match="'convnet' accepts two multiples"):
        embedding(EmbeddingConfig(), ImageSpec(height=4, width=10), IMAGE)


@pytest.mark.parametrize("factor", [3, (1, 2), (2, 1)])
def test_integers_enlarge_rows_and_columns_by_factors_of_their_own(factor):
    layer = UpsamplingConv2d(2, 3, factor=factor, overlap=(0, 1), normalized=False).double()
    with torch.no_grad():
        for own in (layer.kernel, layer.bias):
            own.copy_(torch.randint(-9, 10, own.shape, generator=generator(0)))
    x, sizes = torch.randint(-9, 10, (2, 2, 4, 5), generator=generator(1)).double(), (4, 10)
    assert torch.equal(integer_layer(layer, layer.weight(), layer.bias)(x, *sizes), layer(x, *sizes))


# Initialization -------------------------------------------------------------------------------------------------------


def stage_of(images, dtype=torch.float64):
    image = ImageSpec(3, height=images.shape[2], width=images.shape[3])
    view = PyramidView(PyramidConfig(2), image)
    embedding = components.embedding(ConvEmbeddingConfig(6, 6, 1), view.view, image)
    config = ConvNetworkConfig(filters=8, hidden=8, blocks=2, head=logistic_mixture(3))
    network = components.network(config, image, embedding.features_channels)
    factor = Factor(CausalDistribution(network), view=view, embedding=embedding).to(dtype)
    factor.initialize(values_of(factor, images, view(images)))
    return factor, network


def test_training_begins_with_differences_from_the_view_and_blocks_that_change_nothing():
    # Images that differ from an enlarged view by noise that is 20 times smaller.
    noise = torch.randint(-3, 4, (16, *IMAGE.shape), generator=generator(1))
    images = torch.randint(10, 246, (16, *HALF.shape), generator=generator(0))
    images = images.repeat_interleave(2, 2).repeat_interleave(2, 3) + noise
    factor, network = stage_of(images)
    features = factor.given(values_of(factor, images, factor.view_of(images))).features
    with torch.no_grad():
        difference = network.difference(network.encode(images), features)
        kernel = network.difference.kernel[:, :, 0, 0] / network.difference.kernel[:, :3, 0, 0].diagonal()[:, None]
        start = network.start(difference) + network.features(features)
        assert torch.equal(network.blocks[1](network.blocks[0](start)), start)
    # The deviation is that of the noise, divided by the smallest by which initialization divides.
    expected = (noise - factor.view_of(noise + 10).repeat_interleave(2, 2).repeat_interleave(2, 3) + 10) / 127.5 / 0.05
    assert difference.std().item() == pytest.approx(expected.std().item(), rel=0.1)
    assert difference.mean().abs() < 1e-6
    torch.testing.assert_close(kernel[:, :3], torch.eye(3).double())
    torch.testing.assert_close(kernel[:, 4:7], -torch.eye(3).double(), rtol=0, atol=0.01)
    assert not network.difference.kernel.requires_grad
    assert (kernel[:, 3] == 0).all()
    assert (kernel[:, 7:] == 0).all()


@pytest.mark.parametrize("last", [True, 2, -3, 0.0, "0"])
def test_a_shorter_row_of_a_kernel_must_be_a_part_of_it(last):
    with pytest.raises(ValueError, match="expected an integer from -2 to 1"):
        CausalConv2d(1, 1, above=(0, 1), columns=(-1, 1), last=last)


def test_features_that_explain_little_are_not_subtracted():
    network = components.network(ConvNetworkConfig(filters=4, hidden=4, blocks=1), IMAGE, 5).double()
    network.initialize(random_images(8, IMAGE), random_features(network, 8))
    assert (network.get_parameter("difference.kernel")[:, 3:] == 0).all()


def test_the_first_weights_do_not_depend_on_the_number_of_threads():
    images = random_images(64, ImageSpec(3, height=32, width=40))
    found = []
    for count in (1, 2):
        with threads(count), torch.random.fork_rng():
            torch.manual_seed(0)
            found.append(stage_of(images, torch.float32)[0].state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_training_begins_near_the_distribution_of_all_pixels():
    images = random_images(16, IMAGE)
    factor, network = stage_of(images)
    view = factor.view_of(images)
    given_view = GivenView(factor.view.support, view, False)
    with torch.no_grad():
        parameters = network(network.encode(images), factor.given(values_of(factor, images, view)).features)
    start = network.head.initial_parameters(images, given_view.centers(images))
    torch.testing.assert_close(parameters.mean((0, 2, 3)), start, rtol=0, atol=1e-6)
    assert parameters.std((0, 2, 3)).max() <= 0.1 + 1e-6


# Recipes --------------------------------------------------------------------------------------------------------------


def test_noise_replaces_pixels_of_a_share_of_the_images_in_training():
    """Only the pixels that the network sees: in evaluation nothing changes, and likelihoods are those of the images."""
    network = components.network(ConvNetworkConfig(filters=2, hidden=2, blocks=1, noise=0.25), IMAGE)
    images = network.encode(random_images(4000, IMAGE))
    torch.manual_seed(1)
    noisy = network._with_noise(images)
    changed = (noisy != images)[:, :3].any(1)
    assert torch.equal(noisy[:, 3:], images[:, 3:])
    assert noisy.min() >= -1
    assert noisy.max() <= 1
    shares = changed.double().mean((1, 2))
    # Images of 80 pixels in which less than one in hundred is replaced have no noise.
    assert (shares > 0).double().mean() == pytest.approx(0.25, abs=0.02)
    assert shares[shares > 0].mean() == pytest.approx(0.5, abs=0.03)
    assert not torch.equal(network.train()(images), network(images))
    assert torch.equal(network.eval()(images), network(images))


def test_gaussian_noise_is_added_to_a_share_of_the_images_in_training():
    network = components.network(ConvNetworkConfig(filters=2, hidden=2, blocks=1, gaussian_noise=0.25), IMAGE)
    images = network.encode(random_images(4000, IMAGE))
    torch.manual_seed(1)
    noisy = network._with_gaussian_noise(images)
    assert torch.equal(noisy[:, 3:], images[:, 3:])
    levels = (noisy - images)[:, :3] * 127.5
    deviations = levels.flatten(1).std(1)
    assert levels.mean().abs() < 0.02
    assert (deviations > 0).double().mean() == pytest.approx(0.25, abs=0.02)
    # Deviations are uniform in 0 … 6 levels.
    assert deviations[deviations > 0].mean() == pytest.approx(3.0, abs=0.15)
    assert deviations.max() < 7
    assert not torch.equal(network.train()(images), network(images))
    assert torch.equal(network.eval()(images), network(images))
