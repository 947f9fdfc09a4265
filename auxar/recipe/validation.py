"""Checks that the keys of a recipe about its images and evaluations fit each other."""

from collections.abc import Iterator

from auxar.errors import UserError, naming
from auxar.recipe.data_config import DataConfig
from auxar.recipe.schema import Recipe, TrainingConfig


def check_validation(recipe: Recipe) -> None:
    """Raises `UserError`, with the path of the key, if evaluations during training need a key that is missing."""
    has_images = recipe.data.validation is not None or recipe.data.split.validation > 0
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


def check_data(recipe: Recipe) -> None:
    """Raises `UserError` if keys of [data], or of a factor's own data set, do not fit each other or the recipe."""
    _check_data(recipe.data, recipe)
    names = recipe.factor_names
    for path, config in recipe.training_tables.items():
        if config.data is None:
            continue
        with naming(path):
            _check_data(config.data, recipe)
        name = names[0] if path == "training" else path.removeprefix("training.factor.")
        depth = min(names.index(name), len(recipe.stage))
        if config.data.depth > depth:
            raise UserError(
                f"{path}.data.depth: expected at most {depth}, the depth of the images of factor {name}, "
                f"got {config.data.depth}"
            )


def _check_data(data: DataConfig, recipe: Recipe) -> None:
    if data.validation is not None and data.split.validation:
        raise UserError(
            f"data.validation: '{data.validation}' is given together with data.split.validation = "
            f"{data.split.validation}; remove one of them"
        )
    _check_stream_shards(data)
    if data.crop.random and data.resize != "none":
        raise UserError(
            f"data.crop: random crops are of images of their own sizes; leave out data.resize = '{data.resize}'"
        )
    kind = None if recipe.condition is None else recipe.condition.kind
    if data.crop.random and kind in ("mask", "image"):
        raise UserError(f"data.crop: random crops cannot be combined with a condition of the kind {kind}")


def check_crops(recipe: Recipe) -> None:
    """Raises `UserError` if the size of crops is given for images that are not cropped at random places, or small."""
    height, width = recipe.image.height, recipe.image.width
    for path, config in _trainings(recipe):
        if (size := config.crop) is None:
            continue
        key, data = ("data", recipe.data) if config.data is None else (f"{path}.data", config.data)
        if not data.crop.random:
            raise UserError(
                f'{path}.crop: this is the size of random crops; set {key}.crop = "random", or leave it out'
            )
        if size[0] > height or size[1] > width:
            raise UserError(
                f"{path}.crop: expected at most the height and width of [image], {height}×{width}, got {list(size)}"
            )


def _check_stream_shards(data: DataConfig) -> None:
    """Raises `UserError` if processes are to read their own shards, but the images do not permit it."""
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
