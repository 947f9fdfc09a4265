"""The check of the parameters with which a head lets training begin."""

from __future__ import annotations

import attrs
import torch

from auxar.model import Head, ImageSpec
from auxar.testing.examples import random_images
from auxar.testing.laws import broken, runs, untouched

IMAGES = 3


def check_start(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the law `start` for random images and for images of one color. A head that returns None passes."""
    varied = random_images(IMAGES, spec, seed)
    centers = random_images(IMAGES, attrs.evolve(spec, levels=2**21 + 1), seed) - 2**20 if head.centered else None
    for image in (varied, torch.zeros_like(varied), torch.full_like(varied, spec.levels - 1)):
        with untouched("initial_parameters", image, centers), runs("initial_parameters", image=spec):
            found = head.initial_parameters(image, centers)
            again = head.initial_parameters(image, centers)
        if found is None:
            return
        expected = (head.parameter_count,)
        if tuple(found.shape) != expected:
            broken("start", f"initial_parameters must have shape {expected}, got {tuple(found.shape)}", image=spec)
        if again is None or not torch.equal(found, again):
            broken("start", "initial_parameters must return the same for equal images", image=spec)
        parameters = found.view(1, -1, 1, 1).expand(len(image), -1, *image.shape[2:])
        with runs("log_prob", image=spec):
            nats = head.log_prob(parameters if centers is None else head.around(parameters, centers), image)
        if not bool(found.isfinite().all()) or not bool(nats.isfinite().all()):
            broken("start", "initial_parameters, or log-likelihoods with them, are not finite", image=spec)
