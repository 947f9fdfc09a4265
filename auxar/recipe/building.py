"""A recipe's components, put together into the model they compose."""

from __future__ import annotations

from typing import Any

from torch import device

from auxar.errors import UserError
from auxar.interfaces import CausalNetwork, ImageSpec, Kind, Prior, Sampler, View
from auxar.model import AuxiliaryModel
from auxar.plugins import Registry
from auxar.recipe.schema import ComponentChoice, Recipe
from auxar.recipe.structuring import structure


def build_model(recipe: Recipe, registry: Registry, on: str | device = "cpu") -> Prior:
    """The model with untrained weights. On the device "meta" it has shapes only and takes no memory.

    Raises `UserError` with the key of a component that does not fit the image it gets.
    """
    with device(on):
        model = _build_chain(recipe, registry)
    model.sampler = build_sampler(recipe, registry)
    for network in model.modules():
        if isinstance(network, CausalNetwork):
            model.sampler.check(network)
    return model


def build_sampler(recipe: Recipe, registry: Registry) -> Sampler:
    """The sampler that the recipe names."""
    return _build(registry, "sampler", recipe.sampling.sampler, "sampling.sampler")


def build_views(recipe: Recipe, registry: Registry) -> list[View]:
    """The chain of views from the image down, each fitted to the one before."""
    views: list[View] = []
    image = recipe.image
    for index, stage in enumerate(recipe.stage):
        views.append(_build(registry, "view", stage.view, f"stage[{index}].view", image))
        image = views[-1].view
    return views


def _build_chain(recipe: Recipe, registry: Registry) -> Prior:
    views = build_views(recipe, registry)
    coarsest = views[-1].view if views else recipe.image
    model: Prior = _build(registry, "prior", recipe.prior, "prior", coarsest)
    # From the coarsest view up, since each model is the prior of the next.
    for index in reversed(range(len(views))):
        stage, view, path = recipe.stage[index], views[index], f"stage[{index}]"
        embedding = _build(registry, "embedding", stage.embedding, f"{path}.embedding", view.view, view.image)
        channels = embedding.features_channels
        decoder = _build(registry, "decoder", stage.decoder, f"{path}.decoder", view.image, channels)
        try:
            model = AuxiliaryModel(view, embedding, decoder, model)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return model


def _build(registry: Registry, kind: Kind, choice: ComponentChoice, path: str, *fit: ImageSpec | int) -> Any:
    component = registry.get(kind, choice.name, path)
    config: Any = structure(choice.options, component.config, path)
    try:
        return component.build(config, *fit)
    except UserError as error:
        raise UserError(f"{path} ('{choice.name}'): {error}") from None
