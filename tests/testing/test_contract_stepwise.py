"""Tests that the law `steps` holds for a network that keeps its earlier pixels, and fails for wrong ones."""

import pytest
import torch
from helpers.right_network import Net

from auxar.model import ImageSpec, StepwiseNetwork
from auxar.testing import ContractError
from auxar.testing.causality import check_steps
from auxar.testing.examples import random_images

IMAGE = ImageSpec(3, height=3, width=4)


class Stepwise(Net, StepwiseNetwork):
    """A network whose steps keep the whole image so far."""

    def stepper(self, count, features):
        channels, height, width = self.image.shape
        image = torch.zeros(count, channels, height * width, dtype=torch.float64)
        place = -1

        def predict(previous):
            nonlocal place
            if previous is not None:
                image[:, :, place] = previous
            place += 1
            return self(image.unflatten(2, (height, width)), features).flatten(2)[:, :, place]

        return predict


class Forgetful(Stepwise):
    def stepper(self, count, features):
        predict = super().stepper(count, features)
        return lambda previous: predict(None if previous is None else torch.zeros_like(previous))


class Featureless(Stepwise):
    def stepper(self, count, features):
        return super().stepper(count, torch.zeros_like(features))


class Single(Stepwise):
    """A network whose steps belong to the images that were begun last."""

    def stepper(self, count, features):
        self.__dict__["current"] = super().stepper(count, features)
        return lambda previous: self.__dict__["current"](previous)


class Misshapen(Stepwise):
    def stepper(self, count, features):
        predict = super().stepper(count, features)
        return lambda previous: predict(previous)[:, :, None]


def checked(kind):
    network = kind(IMAGE, 2).double().eval()
    check_steps(network, torch.randn(2, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), 0)


def test_right_steps_pass():
    checked(Stepwise)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Forgetful, "the step for row 0, column 1 predicts other parameters than the network"),
        (Featureless, "the step for row 0, column 0 predicts other parameters"),
        (Single, "a step must be torch.float64 of shape \\(2, "),
        (Misshapen, "a step must be torch.float64 of shape \\(2, "),
    ],
)
def test_wrong_steps_are_caught(kind, message):
    with pytest.raises(ContractError, match=f"^steps: .*{message}"):
        checked(kind)


def test_the_example_images_differ():
    """Equal pixels would hide steps that read the wrong pixel."""
    assert random_images(2, IMAGE, 0).unique().numel() > 20
