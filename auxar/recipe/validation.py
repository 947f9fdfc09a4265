"""Checks that the keys of a recipe about its images and evaluations fit each other."""

from __future__ import annotations

from collections.abc import Iterator

from auxar.errors import UserError
from auxar.recipe.schema import Recipe, TrainingConfig


def check_validation(recipe: Recipe) -> None:
    """Raises `UserError`, with the path of the key, if evaluations during training need a key that is missing.

    Also raises it if the recipe names a split of validation images and takes a fraction of the training images, too.
    """
    data = recipe.data
    if data.validation is not None and data.split.validation:
        raise UserError(
            f"data.validation: '{data.validation}' is given together with data.split.validation = "
            f"{data.split.validation}; remove one of them"
        )
    has_images = data.validation is not None or data.split.validation > 0
    for path, config in _trainings(recipe):
        if config.evaluate_every is None:
            for key, value in (("keep_best", config.keep_best), ("patience", config.patience)):
                if value:
                    raise UserError(f"{path}.{key}: it needs evaluations during training; set {path}.evaluate_every")
        elif not has_images:
            raise UserError(
                f"{path}.evaluate_every: the recipe has no validation images; set data.split.validation, for example "
                "to 0.05, or data.validation to the name of a split"
            )


def check_crops(recipe: Recipe) -> None:
    """Raises `UserError` if images are to be cropped at random places, but are resized or have masks or images."""
    for path, config in _trainings(recipe):
        if config.crop is not None:
            _check_size(f"{path}.crop", config.crop, recipe)
    if not recipe.data.crop.random:
        return
    if recipe.data.resize != "none":
        raise UserError(
            f"data.crop: random crops are of images of their own sizes; leave out data.resize = '{recipe.data.resize}'"
        )
    if recipe.condition is not None and (kind := recipe.condition.kind) in ("mask", "image"):
        raise UserError(f"data.crop: random crops cannot be combined with a condition of the kind {kind}")


def _check_size(path: str, size: tuple[int, int], recipe: Recipe) -> None:
    height, width = recipe.image.height, recipe.image.width
    if not recipe.data.crop.random:
        raise UserError(f'{path}: this is the size of random crops; set data.crop = "random", or leave it out')
    if size[0] > height or size[1] > width:
        raise UserError(f"{path}: expected at most the height and width of [image], {height}×{width}, got {list(size)}")


def check_stream_shards(recipe: Recipe) -> None:
    """Raises `UserError` if processes are to read their own shards, but the images do not permit it."""
    data = recipe.data
    if data.shards == "all":
        return
    if not data.streaming:
        raise UserError("data.shards: 'own' is for streams; set data.streaming = true, or leave out data.shards")
    # Both count images from the beginning of the stream, but a shard does not know how many images are before it.
    if data.limit is not None:
        raise UserError("data.shards: 'own' cannot be combined with data.limit; leave out one of them")
    if data.heldout is None or data.split.validation:
        key = "data.heldout" if data.heldout is None else "data.validation"
        raise UserError(
            "data.shards: 'own' cannot be combined with data.split, which chooses images by their numbers in the whole "
            f"stream; set {key} to the name of a split"
        )


def _trainings(recipe: Recipe) -> Iterator[tuple[str, TrainingConfig]]:
    """Yields the path and the value of each table with training settings. [training] comes last, because factors
    without a table of their own use it."""
    for name, config in recipe.factor_training.items():
        yield f"training.factor.{name}", config
    if set(recipe.factor_names) - recipe.factor_training.keys():
        yield "training", recipe.training
