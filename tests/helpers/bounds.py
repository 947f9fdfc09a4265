"""Helpers that check the bound (paper, equation 5) by enumerating all images and views of small chains."""

import pytest
import torch

from auxar.testing.examples import all_images
from helpers.causal_networks import image_numbers
from helpers.values import values_of, views_of


def conditional_table(stage):
    """Returns log p(x | x̂) for every pair of an image and a view, also for x̂ ≠ ψ(x); shape (images, views)."""
    images, views = all_images(stage.image), all_images(stage.view.view)
    columns = [stage(values_of(stage, images, view.expand(len(images), -1, -1, -1))) for view in views]
    return torch.stack(columns, dim=1)


def joint_table(model):
    """Returns the joint log p of all combinations of an image and views at all depths; one dimension for each depth."""
    *stages, last = model.factors
    joint = last(values_of(last, all_images(last.image)))
    for stage in reversed(stages):
        conditional = conditional_table(stage)
        joint = conditional.view(*conditional.shape, *[1] * (joint.dim() - 1)) + joint
    return joint


@torch.no_grad()
def check_bound(model):
    """Checks that the factors are normalized, and that an image with its views is at most as likely as the image."""
    for factor in model.factors:
        nats = conditional_table(factor) if factor.view else factor(values_of(factor, all_images(factor.image)))
        totals = nats.logsumexp(0)
        torch.testing.assert_close(totals, torch.zeros_like(totals), rtol=0, atol=1e-9)
    joint = joint_table(model)
    assert joint.flatten().logsumexp(0).item() == pytest.approx(0, abs=1e-9)
    images = all_images(model.image)
    bound = model.log_prob(images)
    views = zip(views_of(model, images), model.specs, strict=True)
    on_the_chain = joint[tuple(image_numbers(view, spec.levels) for view, spec in views)]
    torch.testing.assert_close(bound, on_the_chain)
    exact = joint.flatten(1).logsumexp(1)
    assert (bound <= exact + 1e-12).all()
    assert exact.logsumexp(0).item() == pytest.approx(0, abs=1e-9)
