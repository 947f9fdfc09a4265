"""Tests that the contract checks find blocks that cannot be computed a second time."""

import random

import pytest
import torch
from helpers.contract import tells
from helpers.right_embedding import Features
from helpers.right_network import Net
from torch import nn

from auxar.model import CausalDistribution, ImageSpec, RecomputableBlock
from auxar.testing import ContractError, check_embedding, check_prior
from auxar.testing.modules import check_recomputation


class Right(RecomputableBlock):
    """A valid block with random numbers of torch."""

    calls: torch.Tensor

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        return x + (torch.rand_like(x) * self.weight * x).exp()


class Random(Right):
    """A block with random numbers that do not come from torch."""

    def forward(self, x):
        return x + (x * self.weight).exp() * (random.random() if self.training else 1.0)


class Counting(Right):
    """A block that counts its calls in training, as batch normalization does."""

    def forward(self, x):
        if self.training:
            self.calls += 1
        return (x * self.weight).exp()


class OtherSizes(Right):
    """A block that computes with other sizes in the second call."""

    again = False

    def forward(self, x):
        self.again, twice = self.training and not self.again, self.again
        return (torch.cat([x, x]) if twice else x).mul(self.weight).exp()[: len(x)]


@pytest.mark.parametrize(("block", "message"), [(Random, "recompute"), (Counting, "recompute"), (OtherSizes, "runs")])
def test_a_block_that_cannot_be_recomputed_is_caught(block, message):
    module = nn.Sequential(block())
    x = torch.linspace(0, 1, 12).view(4, 3)
    with pytest.raises(ContractError) as error:
        check_recomputation(module, lambda: module(x).sum())
    tells(error, message)


def test_a_right_block_passes():
    module = nn.Sequential(Right(), nn.Linear(3, 3))
    state = torch.get_rng_state()
    check_recomputation(module, lambda: module(torch.ones(4, 3)).sum())
    assert torch.equal(torch.get_rng_state(), state)


class CountingNet(Net):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.block = Counting()

    def forward(self, image, features=None):
        return super().forward(image, features) * self.block(torch.ones(3, dtype=image.dtype)).sum()


class CountingFeatures(Features):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.block = Counting()

    def forward(self, view):
        return super().forward(view) * self.block(torch.ones(3, dtype=self.layer.weight.dtype)).sum()


def test_blocks_of_priors_and_embeddings_are_checked():
    image = ImageSpec(1, height=2, width=2, levels=2)
    with pytest.raises(ContractError) as error:
        check_prior(lambda config, image: CausalDistribution(CountingNet(image, 0)), None, images=[image])
    tells(error, "recompute")
    with pytest.raises(ContractError) as error:
        check_embedding(CountingFeatures, None, pairs=[(image, image)])
    tells(error, "recompute")
