"""Compares training that begins at the distribution of the colors with training that begins at random predictions.

    python tests/benchmarks/initialization.py quickstart --factor stage0 --steps 300

Both trainings have the same initial random numbers, images and settings, at a constant learning rate. For each, the
script prints bits/dim of held-out images with the average of the weights: of whole images, of the first row without its
first pixel, and of the first pixel. The last column is the sum of the weights of all mixture components in the first
row that have less than a twentieth of the heaviest component's weight.
"""

from __future__ import annotations

import argparse
import math
from unittest.mock import patch

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import auxar
from auxar.model import CausalDistribution, Factor
from auxar_heads.logistic_mixture import LogisticMixtureHead

LIGHT = 1 / 20
"""Weight, as a fraction of the heaviest one's, below which a component is called light."""


def main() -> None:
    """Trains twice and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="quickstart")
    parser.add_argument("--factor", default="stage0")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--set", dest="settings", nargs="+", default=[])
    options = parser.parse_args()
    print(f"{options.recipe}, {options.factor}, {options.steps} steps, bits/dim of held-out images")
    print(f"{'beginning':<22}{'image':>9}{'row 0':>9}{'pixel 0':>9}{'light weights':>15}")
    trained = _trained(options.recipe, options.settings, options.factor, options.steps)
    print(f"{'distribution of colors':<22}{trained}", flush=True)
    with patch.object(LogisticMixtureHead, "initial_parameters", lambda head, image, centers=None: None):
        trained = _trained(options.recipe, options.settings, options.factor, options.steps)
    print(f"{'random predictions':<22}{trained}")


def _trained(recipe: str, settings: list[str], name: str, steps: int) -> str:
    """Trains one factor, and returns its row of the table."""
    model = auxar.build(recipe, settings)
    images = auxar.load_images(model)
    assert model.recipe is not None
    training = model.recipe.training_of(name)
    factor = next(factor for factor in model.factors if factor.name == name)
    depths = slice(factor.depth, factor.depth + (1 if factor is model.factors[-1] else 2))
    torch.manual_seed(0)
    model.chain.train()
    model.chain.initialize(next(images.train.shuffled(training.initialization_images)))
    optimizer = torch.optim.Adam(factor.parameters(), lr=training.optimizer.options["learning_rate"])
    average = AveragedModel(factor, multi_avg_fn=get_ema_multi_avg_fn(min(training.ema, 0.98)))
    batches = images.train.shuffled(training.batch_size, flip=training.flip)
    for _, batch in zip(range(steps), batches, strict=False):
        (-factor(*model.chain.views(batch)[depths]).mean() / factor.image.dims).backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(factor)
    averaged = average.module.eval()
    assert isinstance(averaged, Factor)
    return _measured(averaged, [model.chain.views(batch)[depths] for batch in images.heldout.in_order(16)])


def _measured(factor: Factor, batches: list[list[Tensor]]) -> str:
    """Formats the figures of a trained factor."""
    distribution = factor.distribution
    assert isinstance(distribution, CausalDistribution)
    head = distribution.network.head
    assert isinstance(head, LogisticMixtureHead)
    whole, pixels, light = [], [], []
    with torch.no_grad():
        for views in batches:
            image, *given = views
            whole.append(-factor(*views) / math.log(2) / image[0].numel())
            view = given[0] if given else None
            parameters = distribution.parameters_of(image, factor.features(len(image), view), factor.given(view))
            nats = head.channel_log_prob(parameters, image)[:, :, 0].mean(1)
            pixels.append(-nats / math.log(2))
            weights = parameters[:, : head.components, 0].softmax(1)
            light.append((weights * (weights < LIGHT * weights.amax(1, keepdim=True))).sum(1))
    first = torch.cat(pixels)
    figures = (torch.cat(whole).mean(), first[:, 1:].mean(), first[:, 0].mean())
    return "".join(f"{float(figure):9.3f}" for figure in figures) + f"{float(torch.cat(light).mean()):15.4f}"


if __name__ == "__main__":
    main()
