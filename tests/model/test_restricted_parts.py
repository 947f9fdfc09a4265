"""Tests that parts which cannot be restricted are refused by their key."""

import tomllib
from pathlib import Path

import pytest
import tomli_w
import torch
from helpers.installed import Nothing, install_components
from helpers.right_embedding import Features
from helpers.right_network import Net, PlainHead
from helpers.tiny_runs import TINY, changed

from auxar.errors import UserError
from auxar.model import CausalDistribution, Decoder, Factor, ImageSpec, Interval, View
from auxar.plugins import Component
from auxar.recipe.building import build_model
from auxar.recipe.cost import factor_costs
from auxar.recipe.loading import parse_recipe
from auxar.testing.examples import between
from auxar_bitplanes import BitplanesConfig, BitplanesView

IMAGE = ImageSpec(1, height=2, width=2, levels=4)


class Vague(View):
    """A view without a support."""

    def __init__(self, config, image):
        self.image = self.view = image

    def __call__(self, image):
        return image.clone()


class Uniform(Decoder):
    """A decoder that cannot be restricted."""

    def __init__(self, config, image, channels):
        super().__init__()
        self.image, self.features_channels = image, channels

    def log_prob(self, image, features, given=None):
        return torch.zeros(len(image))

    def draw(self, features, request, sampler):
        return torch.zeros(len(request.numbers), *self.image.shape, dtype=torch.int64)


def plain_decoder(config, image, channels):
    return CausalDistribution(Net(image, channels, PlainHead(image)))


def parsed(**changes):
    return parse_recipe(tomli_w.dumps(changed(tomllib.loads(TINY), **changes)), Path("."), ())


def built(**changes):
    return build_model(parsed(**changes))


@pytest.mark.parametrize(
    ("key", "build", "message"),
    [
        ("view", Vague, "a view that defines its support"),
        ("decoder", Uniform, "a decoder that can be restricted"),
        ("decoder", plain_decoder, "a decoder that can be restricted"),
    ],
)
def test_a_strangers_part_that_cannot_be_restricted_is_refused_by_its_key(monkeypatch, key, build, message):
    install_components(monkeypatch, Component(key, "own", Nothing, build))
    changes = {f"stage__0__{key}": {"name": "own"}, "stage__0__embedding": {"name": "resnet", "filters": 2}}
    assert not built(**changes).factors[0].restricted
    with pytest.raises(UserError, match=rf"^stage\[0\]\.support: 'restricted' needs {message}.*'own'"):
        built(**changes, stage__0__support="restricted")


@pytest.mark.parametrize(("view", "head", "message"), [(BitplanesView, PlainHead, "decoder"), (Vague, None, "view")])
def test_a_factor_of_parts_that_cannot_be_restricted_is_refused(view, head, message):
    """A factor that is built without a recipe is refused too if its parts cannot be restricted."""

    def restricted(view, head):
        psi = view(BitplanesConfig(1), IMAGE)
        decoder = CausalDistribution(Net(IMAGE, 2, head and head(IMAGE)))
        return Factor(decoder, view=psi, embedding=Features(None, psi.view, IMAGE), restricted=True)

    assert restricted(BitplanesView, None).exact
    with pytest.raises(UserError, match=f"^restricted=True needs a {message} "):
        restricted(view, head)


def test_a_head_that_cannot_be_restricted_says_so():
    values = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    with pytest.raises(UserError, match="PlainHead cannot be restricted to intervals of values"):
        plain_decoder(None, IMAGE, 1).log_prob(
            values, torch.zeros(1, 1, 2, 2), between(IMAGE, Interval(values, values))
        )


@pytest.mark.parametrize(
    "view", [{"name": "pyramid", "factor": 2}, {"name": "bitplanes", "drop": 4}], ids=lambda view: view["name"]
)
def test_what_a_restricted_model_would_cost_is_told_however_large_its_images_are(view, monkeypatch):
    """The cost is computed without tables of all sub-pixels, which would take many gigabytes for these images."""
    monkeypatch.setattr("auxar.model.sum_support.make_groups", None)
    sizes = {"image__height": 2**16, "image__width": 2**16, "stage__0__view": view}
    free, restricted = (
        factor_costs(parsed(**sizes, stage__0__support=support))[0] for support in ("free", "restricted")
    )
    assert restricted.multiply_adds == free.multiply_adds
    assert restricted.memory >= free.memory
