"""The check of networks that predict one pixel at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar.model import StepwiseNetwork
from auxar.testing.examples import random_images
from auxar.testing.laws import broken, described, runs, unchanged
from auxar.testing.networks import CLOSE


def check_steps(network: StepwiseNetwork, features: Tensor | None, seed: int) -> None:
    """Checks the law `steps`, for two images at once and for one of them alone, whose steps take turns.

    `features` are those of two images.
    """
    images = random_images(2, network.image, seed)
    alone = None if features is None else features[1:]
    with unchanged("the network", network, images, features), runs("the network's stepper"), torch.no_grad():
        expected = network(network.encode(images), features).flatten(2)
        steppers = network.stepper(2, features), network.stepper(1, alone)
        pixels: list[Tensor | None] = [None, *network.encode(images).flatten(2).unbind(2)]
        for place, (pixel, parameters) in enumerate(zip(pixels, expected.unbind(2), strict=False)):
            found = steppers[0](pixel), steppers[1](None if pixel is None else pixel[1:])
            for own, right in zip(found, (parameters, parameters[1:]), strict=True):
                if not isinstance(own, Tensor) or own.shape != right.shape:
                    broken(
                        "steps", f"a step must return parameters of shape {tuple(right.shape)}, got {described(own)}"
                    )
                if not torch.allclose(own, right, rtol=CLOSE, atol=CLOSE):
                    row, column = divmod(place, network.image.width)
                    message = f"the step for row {row}, column {column} predicts other parameters than the network"
                    broken("steps", message, image=network.image, images=len(right))
