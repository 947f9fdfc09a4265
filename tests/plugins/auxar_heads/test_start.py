"""Tests that a new network predicts about the distribution of the colors of its first batch."""

import pytest
import torch

from auxar.model import CENTER_BITS, ImageSpec, scale
from auxar_heads import logistic_mixture, softmax
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_pixelcnn import components

DARK = ImageSpec(height=6, width=6)


def dark_images():
    """Images with a third of black pixels, and values below 64 elsewhere: (32, 3, 6, 6)."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(64, (32, 3, 6, 6), generator=generator)
    return values * (torch.rand(32, 1, 6, 6, generator=generator) > 1 / 3)


@pytest.mark.parametrize("head", [logistic_mixture(5), softmax()], ids=["mixture", "softmax"])
@pytest.mark.parametrize("build", [components.light, components.full], ids=["light", "full"])
def test_a_new_network_begins_near_the_distribution_of_colors(build, head):
    torch.manual_seed(0)
    config = components.LightConfig if build is components.light else components.FullConfig
    sizes = {"blocks": 1} if build is components.light else {"nr_resnet": 1}
    network = build(config(filters=8, head=head, dropout=0.0, **sizes), DARK)
    image = dark_images()
    network.initialize(image)
    start = network.head.initial_parameters(image)
    with torch.no_grad():
        pixels = network.head.log_prob(network(network.encode(image)), image)
        marginal = network.head.log_prob(start.view(1, -1, 1, 1).expand(32, -1, 6, 6), image)
    uniform = -3 * torch.tensor(256.0).log()
    assert marginal.mean() > uniform + 1  # at least 1 nat better than equal probabilities
    # The first pixel has no earlier pixels, so all its predictions come from the initialization.
    for rows in (slice(0, 1), slice(0, 6)):
        assert pixels[:, rows, rows].mean() > (marginal[:, rows, rows].mean() + uniform) / 2


def test_a_start_around_centers_has_the_means_of_the_differences():
    image, head = dark_images(), LogisticMixtureHead(DARK, 5, centered=True)
    centers = (scale(image, 256, torch.float64) * 2**CENTER_BITS).round().long()
    means = head.initial_parameters(image, centers)[5:20]
    torch.testing.assert_close(means, torch.zeros_like(means), rtol=0, atol=1e-5)


def test_many_components_do_not_make_the_start_worse():
    image = dark_images()

    def mean(count):
        head = logistic_mixture(count).build(DARK)
        start = head.initial_parameters(image).view(1, -1, 1, 1).expand(32, -1, 6, 6)
        return head.log_prob(start, image).mean()

    assert mean(100) > mean(10) - 1
