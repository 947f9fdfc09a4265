"""Tests that every contract check of embeddings fails for an embedding that breaks its law."""

import pytest
import torch
from helpers.right_embedding import Features
from torch import nn

from auxar.interfaces import ImageSpec
from auxar.testing import ContractError, check_embedding


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


class InitializedOutside(Features):
    """An embedding whose `initialize` sets a number that is not part of the state."""

    mean = 0.0

    def initialize(self, view):
        self.mean = view.double().mean().item()

    def forward(self, view):
        return super().forward(view) - self.mean


class FirstOfMany(Features):
    """An embedding that gives the views after the sixteenth the features of the first."""

    def forward(self, view):
        numbers = torch.arange(len(view))
        return super().forward(view[numbers.where(numbers < 16, 0)])


class OtherInSingle(Features):
    def forward(self, view):
        found = super().forward(view)
        return found * 0.9 if found.dtype == torch.float32 else found


class Writing(Features):
    """An embedding that changes the view."""

    def forward(self, view):
        found = super().forward(view)
        view.zero_()
        return found


class WritesFirst(Features):
    def initialize(self, view):
        view.zero_()


class MemoryOrder(Features):
    """An embedding that reads views in the order of memory."""

    def forward(self, view):
        spec = self.view
        strides = (view.stride(0), spec.height * spec.width, spec.width, 1)
        return super().forward(view.as_strided(view.shape, strides))


class Sleeping(Features):
    """An embedding that turns dropout off for good."""

    def forward(self, view):
        self.eval()
        return super().forward(view)


class Reseeding(Features):
    def forward(self, view):
        torch.manual_seed(0)
        return super().forward(view)


class Gradientless(Features):
    """An embedding that turns gradients off for good."""

    def forward(self, view):
        found = super().forward(view)
        torch.set_grad_enabled(False)
        return found


class ShortIntegers(Features):
    """An embedding that computes with the integers of a view as they come, which overflow int16."""

    def forward(self, view):
        return super().forward(view * 200 if view.dtype == torch.int16 else view.long() * 200)


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (Writing, "inputs"),
        (WritesFirst, "inputs"),
        (MemoryOrder, "layout"),
        (Sleeping, "mode"),
        (Reseeding, "state"),
        (Gradientless, "state"),
        (ShortIntegers, "dtype"),
        (Constant, "view"),
        (TooSmall, "shape"),
        (Averaging, "batch"),
        (Noisy, "state"),
        (Logarithmic, "finite"),
        (Swapped, "spec"),
        (Wrapping, "dtype"),
        (Hidden, "save"),
        (FirstOfMany, "batch"),
        (OtherInSingle, "precision"),
        (InitializedOutside, "save"),
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
