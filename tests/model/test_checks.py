"""Tests that runs refuse networks that are not causal, random views, and views with another support."""

import functools
from typing import Any

import pytest
import torch
from helpers.installed import install_components
from helpers.tiny_runs import run, said, tiny, write

from auxar import Augmentation, build, evaluate, load
from auxar.model.checks import check_causal
from auxar.plugins import Component
from auxar_augmentations import Flip
from auxar_convnet.components import ConvNetworkConfig, network
from auxar_convnet.network import ConvNetwork
from auxar_layers.convolutions import CausalConv2d
from auxar_pixelcnn.components import built
from auxar_pyramid import PyramidConfig, PyramidView


def leaking(config, image, features_channels=0):
    found: Any = network(config, image, features_channels)
    # The projection after it starts with zero weights, which hide the leak before the training.
    found.blocks[0].convolution = CausalConv2d(config.filters, config.hidden, above=(0, 1), columns=(-1, 1))
    return found


class Mixing(ConvNetwork):
    def forward(self, image, features=None):
        found = super().forward(image, features)
        return found + 0.1 * found.mean(0, keepdim=True)


class Noisy(PyramidView):
    def __call__(self, image):
        found = super().__call__(image)
        return found ^ torch.randint(2, found.shape, dtype=image.dtype)


class Changing(PyramidView):
    def __call__(self, image):
        found = super().__call__(image)
        image.zero_()
        return found


class Inverted(PyramidView):
    def __call__(self, image):
        return 255 - super().__call__(image)


class Normalized(PyramidView):
    """The view depends on the whole batch."""

    def __call__(self, image):
        found = super().__call__(image)
        return found - found.amin().clamp(max=3)


class Wide(PyramidView):
    def __call__(self, image):
        return torch.where((found := super().__call__(image)) == 255, 256, found.long())


class Listed(PyramidView):
    def __call__(self, image):
        return list(super().__call__(image))


class Unspecified(PyramidView):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.view = self.view.shape  # type: ignore[assignment]


FAULTS = {
    "identity": lambda images: images + 1,
    "in place": torch.Tensor.zero_,
    "dtype": torch.Tensor.float,
    "first": lambda images: images[:1],
    "batch": lambda images: images[:1].expand_as(images).clone(),
    "": lambda images: images.flip(3),
}


class Brighter(Augmentation):
    """A wrong augmentation, whose fault is its attribute."""

    fault = ""

    def variants(self, image):
        return 0 if self.fault == "no variants" else 2

    def __call__(self, images, variant):
        return FAULTS[self.fault](images) if variant or self.fault == "identity" else images


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    kinds = Noisy, Changing, Inverted, Normalized, Wide, Listed, Unspecified
    views = [Component("view", kind.__name__.lower(), PyramidConfig, kind) for kind in kinds]
    built_of: dict[str, Any] = {"leaking": leaking, "mixing": functools.partial(built, Mixing)}
    networks = [Component("network", name, ConvNetworkConfig, build) for name, build in built_of.items()]
    brighter = Component("augmentation", "brighter", Flip, lambda config: Brighter())
    install_components(monkeypatch, *networks, brighter, *views)


@pytest.mark.parametrize(
    ("view", "support", "message"),
    [
        ("noisy", "free", "factor stage0: the view Noisy gives other values for the same images at a second call"),
        ("changing", "free", "factor stage0: the view Changing changes its argument"),
        ("inverted", "restricted", "factor stage0: the view Inverted has another support"),
        ("inverted", "free", ""),
        ("normalized", "free", "factor stage0: the view Normalized gives other values for the same images at a second"),
        ("wide", "free", "factor stage0: the view Wide gives values 0 … 256, but its range is 0 … 255; "),
        ("listed", "free", "factor stage0: the view Listed must return a tensor of the shape ("),
        ("unspecified", "free", "stage[0].view ('unspecified'): expected an auxar.ImageSpec as `view`, got (3, 4, 4)"),
    ],
)
def test_a_wrong_view_is_refused_before_training(pictures, tmp_path, view, support, message):
    torch.manual_seed(0)
    table = tiny(pictures, stage__0__view={"name": view}, stage__0__support=support)
    found = said(run, tmp_path / "run", table, only=["prior", "stage0"] if message else ["stage0"])
    assert bool(message) == (not [*tmp_path.glob("run/factors/*/*.safetensors")])
    assert message in found
    assert bool(found) == bool(message)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no variants", "variants: expected an integer from 1 to 2,147,483,647, got 0"),
        (
            "identity",
            "the augmentation Brighter changes images that it must leave as they are (variant 0); `auxar.test",
        ),
        ("in place", "the augmentation Brighter changes its argument (variant 1)"),
        ("dtype", "the augmentation Brighter must return a tensor of the shape and dtype of the images (variant 1)"),
        ("batch", "the augmentation Brighter depends on the batch of an image, or on chance (variant 1)"),
        ("first", "the augmentation Brighter must return a tensor of the shape and dtype of the images (variant 1)"),
        ("", ""),
    ],
)
def test_a_wrong_augmentation_is_refused_before_training(pictures, tmp_path, monkeypatch, fault, message):
    monkeypatch.setattr(Brighter, "fault", fault)
    monkeypatch.setattr("auxar.training.factors.CHECKED", 1)  # A small data set has a single held-out image.
    found = said(run, tmp_path / "run", tiny(pictures, training__augment=["brighter"]), only=["prior"])
    assert message in found
    assert bool(found) == bool(message)


def test_deep_trained_networks_are_not_refused_because_of_rounding():
    for factor in load("emoji32").chain.all_factors:
        check_causal(factor)


@pytest.mark.parametrize(("name", "what"), [("leaking", "ConvNetwork is not causal"), ("mixing", "Mixing mixes")])
def test_a_network_that_is_not_causal_or_mixes_images_is_neither_trained_nor_evaluated(pictures, tmp_path, name, what):
    table = tiny(pictures, prior={"name": name, "filters": 4, "hidden": 4, "blocks": 1})
    message = f"factor prior: the network {what}"
    assert said(run, tmp_path / "run", table, only=["prior"]).startswith(message)
    own = build(write(tmp_path / "own.toml", table)).save(tmp_path / "own")
    assert said(evaluate, own.path).startswith(message)
