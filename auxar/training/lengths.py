"""The lengths of the factors' training: the steps that a recipe sets, and the steps that are done."""

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

from auxar.data.sets import ImageSet
from auxar.errors import UserError
from auxar.model import Chain, Factor
from auxar.recipe import Recipe, read_recipe
from auxar.recipe.schema import LENGTHS
from auxar.runs.history import settings_of
from auxar.runs.layout import RunFolder
from auxar.runs.weights import check_whole, read_trained
from auxar.training.checkpoints import NAME, numbered


def number_of_images(images: ImageSet) -> int:
    """The number of images in a set; 0 for a stream, which has no known length."""
    return len(images) if isinstance(images, Sized) else 0


def total_steps(run: RunFolder, recipe: Recipe, training_images: Callable[[str], ImageSet]) -> dict[str, int]:
    """The number of steps that the recipe sets for each factor.

    `training_images` gives the images of a factor. It is called only if they must be counted: a length in epochs
    depends on their number, unless the factor was already trained for as many epochs.
    """
    found = {name: _known_steps(run, recipe, name) for name in recipe.factor_names}
    return {
        name: recipe.training_of(name).total_steps(number_of_images(training_images(name))) if known is None else known
        for name, known in found.items()
    }


def _known_steps(run: RunFolder, recipe: Recipe, name: str) -> int | None:
    """The number of steps that the recipe sets for the factor `name`; None if it depends on the number of images,
    or if it is not measured yet.

    If the factor was already trained for the recipe's number of epochs, the number of steps is known from its weights.
    """
    config = recipe.training_of(name)
    if config.steps is not None or config.minutes is not None:
        return config.steps
    trained = read_trained(run, name)
    parts = trained.history.parts if trained else ()
    if trained and trained.total is not None and parts and parts[-1].settings.get("epochs") == config.epochs:
        return trained.total
    return None


def needs_images(run: RunFolder, recipe: Recipe, name: str, chosen: Sequence[str]) -> bool:
    """Whether the images of a factor are needed: to count them or, if it is chosen and not trained, to train it."""
    steps = _known_steps(run, recipe, name)
    return steps is None or (name in chosen and not is_trained(run, name, steps))


def is_trainable(factor: Factor) -> bool:
    """Whether the factor has trainable parameters. Without them, as in a fixed prior, it has no training steps."""
    return any(parameter.requires_grad for parameter in factor.parameters())


def is_trained(run: RunFolder, name: str, total: int) -> bool:
    """Whether the factor has the weights of a training of `total` steps, or of a user's own training loop."""
    trained = read_trained(run, name)
    return trained is not None and trained.total in (None, total)


def taken_steps(run: RunFolder, name: str) -> int:
    """The number of steps of a factor's last checkpoint or of its weights, 0 if it has neither."""
    trained, saved = read_trained(run, name), numbered(run.factor(name), NAME)
    return max(saved[0][0] if saved else 0, (trained and trained.steps) or 0)


def check_lengths(
    run: RunFolder, recipe: Recipe, model: Chain, chosen: Sequence[str], totals: Mapping[str, int]
) -> None:
    """Checks that the factors of a run can be trained to `totals` steps. `model` is the model of the recipe.

    Raises `UserError` if a factor already has more steps, if a chosen factor has weights of fewer steps and no
    checkpoint to continue from, or if only learning rates changed, so that no step would use them.
    """
    for factor in model.all_factors:
        name, total = factor.name, totals[factor.name]
        if is_trained(run, name, total) or not is_trainable(factor):
            continue
        trained = read_trained(run, name)
        saved = numbered(run.factor(name), NAME)
        if total < (done := taken_steps(run, name)):
            for _, path in saved[:1]:  # A damaged file may have the name of another step.
                check_whole(path)
            config, finished = recipe.training_of(name), trained.total if trained else None
            found = str(total) if config.steps is not None else f"{config.epochs} ({total} steps)"
            weights = "" if finished in (None, done) else f", {finished} steps, for which it has weights,"
            raise UserError(
                f"{recipe.training_key(name)}.{_length(recipe, name)}: {found} is fewer than the {done} steps that "
                f"factor {name} already has; use {done} or more steps{weights} or, for this factor alone, "
                f"training.factor.{name}.steps, or choose another folder with --out"
            )
        if trained and not saved and name in chosen:
            raise UserError(
                f"{recipe.training_key(name)}.{_length(recipe, name)}: factor {name} cannot be trained from "
                f"{trained.steps} to {total} steps, because its last checkpoint is missing: expected a file "
                f"training-….safetensors in {run.factor(name)} (folders of `auxar export` have none); restore it, keep "
                f"a length of {trained.steps} steps, or start a new run from these weights in another folder "
                f'(init = "{run.path}" and --out)'
            )
    if all(is_trained(run, name, totals[name]) for name in recipe.factor_names):
        _check_rates(run, recipe)


def check_training(recipe: Recipe, chosen: Sequence[str], processes: int) -> None:
    """Checks the training settings of the chosen factors before training starts.

    Raises `UserError` if a batch cannot be divided evenly among the processes, or if a recipe with streamed data sets
    epochs instead of steps.
    """
    for name in chosen:
        config = recipe.training_of(name)
        key = recipe.training_key(name)
        if config.batch_size % processes:
            below = config.batch_size // processes * processes
            raise UserError(
                f"{key}.batch_size: {config.batch_size} is not divisible by the number of processes, {processes}; "
                f"use a multiple of {processes}, such as {below + processes}"
            )
        if recipe.data_of(name).streaming and config.epochs is not None:
            raise UserError(f"{key}.epochs: the length of a stream is not known; set {key}.steps instead")


def _length(recipe: Recipe, name: str) -> str:
    return "epochs" if recipe.training_of(name).steps is None else "steps"


def _check_rates(run: RunFolder, recipe: Recipe) -> None:
    """Raises `UserError` if a learning rate differs from the stored recipe. It is called if no step is left to do.

    If further training was begun and given up, the stored recipe has the settings of the further training. A factor may
    therefore also have the settings that its weights were trained with.
    """
    stored = read_recipe(run.recipe)
    for name in recipe.factor_names:
        before, after = _rates(settings_of(stored.training_of(name))), _rates(settings_of(recipe.training_of(name)))
        trained = read_trained(run, name)
        parts = trained.history.parts if trained else ()
        if parts and _rates(parts[-1].settings) == after:
            continue
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                found, trained_with = (rates.get(key, "the usual value") for rates in (after, before))
                keep = f"use {trained_with}" if key in before else "leave the key out"
                raise UserError(
                    f"{recipe.training_key(name)}.{key}: {found} would have no effect, because all factors are "
                    f"trained, {name} with {trained_with}; set a larger training.{_length(recipe, name)} to train "
                    f"further, or {keep}"
                )


def _rates(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in LENGTHS}
