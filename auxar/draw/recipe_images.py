"""Loads the images of a recipe or of a model's recipe."""

from __future__ import annotations

import logging

from auxar.data.loading import load_images as load_data
from auxar.data.sets import DataSets
from auxar.draw.image_model import ImageModel
from auxar.errors import UserError, one_line
from auxar.plugins import Registry
from auxar.recipe import Recipe

logger = logging.getLogger("auxar")


def load_images(source: ImageModel | Recipe, registry: Registry | None = None) -> DataSets:
    """Loads the images that a model's recipe, or a recipe with its registry, describes in [data] and [image].

    The result has the image sets `train`, `heldout` and `validation`, which is None if the recipe has none. Their
    methods `shuffled` and `in_order` give batches, and `shuffled_examples` and `in_order_examples` batches with the
    conditions of the images. Without streaming, the first call converts all images and stores
    them in the cache of Hugging Face `datasets`. Images that are broken and left out are logged.

    Raises `UserError` if the model has no recipe, if a recipe comes without its registry, or if images cannot be found
    or read or do not fit [image].

    Examples:
        >>> import auxar
        >>> recipe, registry = auxar.load_recipe("quickstart")
        >>> images = auxar.load_images(recipe, registry)
        >>> next(images.train.shuffled(16)).shape
        torch.Size([16, 3, 32, 32])
    """
    recipe, registry = (source.recipe, source.registry) if isinstance(source, ImageModel) else (source, registry)
    if not isinstance(recipe, Recipe) or not isinstance(registry, Registry):
        raise UserError("load_images: expected a model with a recipe, or both results of load_recipe")
    found = load_data(recipe.data, recipe.image, registry, recipe.condition)
    for name in found.skipped:
        logger.warning("this image cannot be read and is left out: %s", one_line(name))
    return found
