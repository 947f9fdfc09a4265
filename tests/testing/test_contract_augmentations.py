"""Tests that the check of augmentations names the law that a wrong one breaks."""

import itertools

import pytest
import torch
from helpers.contract import breaks, mutant

from auxar import ImageSpec, UserError
from auxar.testing import check_augmentation
from auxar_augmentations import Flip

COUNTER = itertools.count(1)


def called(change):
    """A `__call__` that changes the variants other than the image itself."""
    return {"__call__": lambda self, right, images, variant: change(right(images, variant)) if variant else images}


def refusing(self, right, image):
    raise UserError("no")


@pytest.mark.parametrize(
    ("law", "edits"),
    [
        ("variants", {"variants": lambda self, right, image: 0}),
        ("variants", {"variants": lambda self, right, image: next(COUNTER)}),
        ("identity", {"__call__": lambda self, right, images, variant: right(images, 1)}),
        ("shape", called(lambda found: found[:, :, :1])),
        ("dtype", called(lambda found: found.long())),
        ("range", called(lambda found: found + 1)),
        ("state", called(lambda found: found + int(torch.rand(())))),
        ("batch", called(lambda found: found - found.amin(0))),
        ("inputs", {"__call__": lambda self, right, images, variant: images.clamp_(max=0) if variant else images}),
        ("runs", called(lambda found: found.no)),
        ("runs", {"variants": refusing}),
    ],
)
def test_a_wrong_augmentation_is_caught(law, edits):
    breaks(law, check_augmentation, mutant(Flip, **edits)())


def test_given_images_must_be_supported():
    breaks("runs", check_augmentation, mutant(Flip, variants=refusing)(), images=[ImageSpec(height=2, width=2)])
