"""Tests that every contract check of embeddings fails for an embedding that breaks its law."""

import pytest
import torch
from torch import nn

from auxar.interfaces import Embedding, ImageSpec
from auxar.testing import ContractError, check_embedding


class Features(Embedding):
    def __init__(self, config, view, image):
        super().__init__()
        self.view, self.image, self.features_channels = view, image, 2
        self.layer = nn.Conv2d(view.channels, 2, 1)

    def forward(self, view):
        features = self.layer(view.to(self.layer.weight.dtype) / self.view.levels)
        return nn.functional.interpolate(features, (self.image.height, self.image.width))


class Constant(Features):
    def forward(self, view):
        return super().forward(view * 0)


class TooSmall(Features):
    def forward(self, view):
        return super().forward(view)[:, :1]


class Averaging(Features):
    def forward(self, view):
        features = super().forward(view)
        return features - features.mean(0, keepdim=True)


class Noisy(Features):
    def forward(self, view):
        return nn.functional.dropout(super().forward(view), 0.5)


class Logarithmic(Features):
    def forward(self, view):
        return super().forward(view) + view[:, :1].double().log().mean()


class Wrapping(Features):
    def forward(self, view):
        return super().forward(2 * view)


class Fixed(Features):
    """A valid embedding without trainable parameters."""

    def __init__(self, config, view, image):
        super().__init__(config, view, image)
        self.layer.requires_grad_(False)


class Swapped(Features):
    def __init__(self, config, view, image):
        super().__init__(config, image, view)


class Hidden(Features):
    def __init__(self, config, view, image):
        super().__init__(config, view, image)
        self.gain = torch.randn(()).item()

    def forward(self, view):
        return super().forward(view) * self.gain


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Constant, "view"),
        (TooSmall, "shape"),
        (Averaging, "batch"),
        (Noisy, "determinism"),
        (Logarithmic, "finite"),
        (Swapped, "spec"),
        (Wrapping, "dtype"),
        (Hidden, "save"),
    ],
)
def test_a_broken_embedding_is_caught(kind, law):
    with pytest.raises(ContractError) as error:
        check_embedding(kind, None)
    assert error.value.law == law


def test_a_right_embedding_passes():
    check_embedding(Features, None)
    check_embedding(Fixed, None)
    check_embedding(Features, None, pairs=[(ImageSpec(4, height=1, width=1), ImageSpec(height=3, width=2))])
