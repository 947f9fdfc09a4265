"""Tests that every contract check of embeddings fails for an embedding that breaks its law."""

import pytest
import torch
from helpers.contract import tells
from helpers.right_embedding import Features
from torch import nn

from auxar.model import ImageSpec
from auxar.testing import ContractError, check_embedding, invariances


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


def no_embedding(config, view, image):
    return nn.Identity()


class WithoutChannels(Features):
    def __init__(self, config, view, image):
        super().__init__(config, view, image)
        self.features_channels = 0


class ChannelsInWords(WithoutChannels):
    def __init__(self, config, view, image):
        super().__init__(config, view, image)
        self.features_channels = "two"  # type: ignore[assignment]


class Alternating(Features):
    """An embedding whose features differ in every second call."""

    calls = 0

    def forward(self, view):
        self.calls += 1
        return super().forward(view) + self.calls % 2


class AlternatingInSingle(Alternating):
    def forward(self, view):
        found = super().forward(view)
        return found if found.dtype == torch.float32 else found - self.calls % 2


class Stuck(Features):
    """An embedding that turns dropout off for good when it is initialized."""

    def initialize(self, view):
        self.eval()


class InfiniteAtFirst(Features):
    def initialize(self, view):
        nn.init.constant_(self.layer.bias, torch.inf)  # type: ignore[arg-type]


class Unused(Features):
    def __init__(self, config, view, image):
        super().__init__(config, view, image)
        self.spare = nn.Parameter(torch.zeros(1))


class Steep(Unused):
    """An embedding with a parameter whose gradient is not finite."""

    def forward(self, view):
        return super().forward(view) + (0 * self.spare).sqrt()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (no_embedding, "spec"),
        (WithoutChannels, "spec"),
        (ChannelsInWords, "spec"),
        (Alternating, "determinism"),
        (AlternatingInSingle, "determinism"),
        (Stuck, "initialize"),
        (InfiniteAtFirst, "finite"),
        (Unused, "gradient"),
        (Steep, "gradient"),
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
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_embedding_is_caught(kind, message):
    with pytest.raises(ContractError) as error:
        check_embedding(kind, None)
    tells(error, message)


def test_an_embedding_is_compared_on_all_devices(monkeypatch):
    class OtherElsewhere(Features):
        place = torch.device("cpu")

        def to(self, device):
            self.place = device
            return super().to(device)

        def forward(self, view):
            return super().forward(view) + 0.1 * (self.place == torch.device("cpu:0"))

    monkeypatch.setattr(invariances, "devices", lambda: [torch.device("cpu"), torch.device("cpu:0")])
    with pytest.raises(ContractError) as error:
        check_embedding(OtherElsewhere, None)
    tells(error, "device")
    check_embedding(Features, None, pairs=[(ImageSpec(1, height=2, width=2, levels=300), ImageSpec(height=4, width=4))])


def test_a_right_embedding_passes():
    check_embedding(Features, None)
    check_embedding(Fixed, None)
    check_embedding(Features, None, pairs=[(ImageSpec(4, height=1, width=1), ImageSpec(height=3, width=2))])
