"""Tests that every contract check of embeddings fails for an embedding that breaks its law."""

from copy import deepcopy

import pytest
import torch
from helpers.contract import alternately, before, breaks, cases, mutant, setting, then
from helpers.right_embedding import Features
from torch import nn

from auxar.model import ImageSpec
from auxar.testing import check_embedding
from auxar_convnet.components import ConvEmbeddingConfig
from auxar_convnet.embedding import ConvEmbedding
from auxar_pixelcnn.components import enlargement, options


def features(law, forward=None, **edits):
    return law, mutant(Features, **edits | ({"forward": forward} if forward else {}))


def parameter(module):
    return nn.Parameter(torch.zeros(1))


def logarithmic(self, right, view):
    return right(view) + view[:, :1].double().log().mean()


def first_of_many(view):
    """Views, of which those after the sixteenth are the first."""
    numbers = torch.arange(len(view))
    return view[numbers.where(numbers < 16, 0)]


def gradientless(found):
    """Gradients are turned off for good."""
    torch.set_grad_enabled(False)
    return found


def alternating_in_single():
    other = alternately(lambda found: found + 1)

    def edit(self, right, view):
        return other(self, right, view) if self.layer.weight.dtype == torch.float32 else right(view)

    return edit


def mean_first(self, right, view):
    self.mean = view.double().mean().item()


def infinite_at_first(self, right, view):
    nn.init.constant_(self.layer.bias, torch.inf)


MUTANTS = {
    "no embedding": ("spec", lambda config, view, image: nn.Identity()),
    "without channels": features("spec", __init__=setting(features_channels=0)),
    "swapped": features("spec", __init__=lambda self, right, config, view, image: right(config, image, view)),
    "alternating in single": features("determinism", alternating_in_single()),
    "stuck": features("mode", initialize=lambda self, right, view: self.eval()),
    "infinite at first": features("finite", initialize=infinite_at_first),
    "logarithmic": features("finite", logarithmic),
    "unused": features("gradient", __init__=setting(spare=parameter)),
    "steep": features(
        "gradient", lambda self, right, view: right(view) + (0 * self.spare).sqrt(), __init__=setting(spare=parameter)
    ),
    "writes first": features("inputs", initialize=lambda self, right, view: view.zero_()),
    "gradientless": features("state", then(gradientless)),
    "constant": features("view", before(view=torch.zeros_like)),
    "too small": features("shape", then(lambda found: found[:, :1])),
    "averaging": features("batch", then(lambda found: found - found.mean(0, keepdim=True))),
    "first of many": features("batch", before(view=first_of_many)),
    "other in single": features(
        "precision", then(lambda found: found * (0.9 if found.dtype == torch.float32 else 1.0))
    ),
    "of its own size": features("any_size", at=lambda self, right, view, image: self),
    "copied at a size": features("any_size", at=lambda self, right, view, image: deepcopy(right(view, image))),
    "size in a weight": features(
        "any_size",
        lambda self, right, view: right(view) * self.side,
        __init__=setting(side=lambda self: self.image.height),
    ),
    "initialized outside": features(
        "save", lambda self, right, view: right(view) - self.mean, mean=0.0, initialize=mean_first
    ),
}


def test_integers_that_are_not_those_of_encode_are_caught():
    kind = mutant(ConvEmbedding, encode_integers=then(lambda found: found.flip(3)))

    def build(config, view, image):
        return kind(view, image, factor=enlargement(view, image), **options(config))

    breaks("integers", check_embedding, build, ConvEmbeddingConfig(filters=4, hidden=4, blocks=1))


@pytest.mark.parametrize(("law", "kind"), cases(MUTANTS))
@pytest.mark.usefixtures("first_example")
def test_a_broken_embedding_is_caught(law, kind):
    words = {"mode": "initialize must not change", "state": "training turns gradients off"}
    assert words.get(law, "") in breaks(law, check_embedding, kind, None)


def test_a_right_embedding_passes():
    check_embedding(Features, None)
    untrained = setting(layer=lambda self: self.layer.requires_grad_(False))
    check_embedding(mutant(Features, __init__=untrained), None)
    tall, wide = ImageSpec(4, height=1, width=1), ImageSpec(1, height=2, width=2, levels=300)
    for view, image in ((tall, ImageSpec(height=3, width=2)), (wide, ImageSpec(height=4, width=4))):
        check_embedding(Features, None, pairs=[(view, image)])
