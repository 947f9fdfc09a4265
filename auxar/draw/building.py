"""Builds the untrained model of a recipe, for a training loop of the user."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import torch

from auxar.draw.devices import chosen_device
from auxar.draw.image_model import ImageModel
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model


def build(
    path: str | PathLike[str],
    settings: Sequence[str] = (),
    *,
    device: str | torch.device = "cpu",
    trust_plugins: bool = False,
) -> ImageModel:
    """Builds the model of a recipe with untrained weights.

    `path` is a TOML file, or the name of a recipe that comes with auxar, such as "quickstart". `settings` are
    `key=value` strings that override keys of the recipe. `device` is "cpu", "cuda", "cuda:N" or "auto", as for `load`.

    The initial weights are those that `auxar run` begins with: they depend on `training.seed`, and PyTorch's global
    generator is left as it is. `chain.initialize` adapts them to a batch of images. The other keys of [training] are
    not used. The model is in training mode.

    Raises `UserError` if the recipe is invalid, if the device does not exist, or if the recipe has plugin files, which
    are code, and `trust_plugins` is False.

    Examples:
        >>> import auxar
        >>> model = auxar.build("quickstart", ["prior.filters=8"])
        >>> [factor.name for factor in model.factors]
        ['stage0', 'stage1', 'prior']
        >>> images = next(auxar.load_images(model).train.shuffled(8))
        >>> model.chain.initialize(images)
        >>> model.chain.log_prob(images).requires_grad
        True
    """
    place = chosen_device(device)
    recipe, registry = load_recipe(path, settings, trust_plugins=trust_plugins)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.training.seed)  # Not the generators of GPUs, which are not restored.
        chain = build_model(recipe, registry)
    return ImageModel(chain, recipe, registry).to(place)
