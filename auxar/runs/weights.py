"""Loads the trained weights of a run into its model. Shapes are checked before tensors are read."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar import files
from auxar.errors import UserError, one_line
from auxar.model import Chain, Factor
from auxar.model.factor import CONDITION_FACTOR
from auxar.recipe import Recipe, read_recipe
from auxar.recipe.building import build_model
from auxar.recipe.facts import differences
from auxar.recipe.structuring import unstructure
from auxar.runs.history import History, read_history
from auxar.runs.layout import SAVED, RunFolder
from auxar.runs.limits import load_limits
from auxar.runs.versions import check_versions

CheckMetadata = Callable[[Mapping[str, str]], None]
"""A function that gets the metadata of a file, and raises `UserError` to refuse the file."""
WEIGHTS, OWN = "weights", "own"
"""Metadata key of the kind of the weights, and its value for weights of a user's own training loop."""
CONDITION = "condition"
"""The key of the condition in a factor's `recipe_part`, if the recipe has one."""
AGAIN = "get the model again (one from the Hugging Face hub: delete its folder in the cache first)"
"""Advice on recovery if a model has no checkpoints, as one that was exported, installed or downloaded."""
FLOATING = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
"""The types of weights. A file may have another one of them than the factor."""
LONGEST_NAME = 100
"""Maximum number of characters of a tensor's name, and of its shape, in an error message."""


def trained_model(run: RunFolder, recipe: Recipe) -> Chain:
    """Builds the model of a run and loads its trained weights.

    Raises `UserError` if the weights of a factor are missing, damaged or from another model.
    """
    check_sizes(run, recipe, recipe.factor_names)
    model = build_model(recipe)
    for factor in model.all_factors:
        load_weights(run, factor)
    return model


def check_sizes(run: RunFolder, recipe: Recipe, names: Sequence[str]) -> None:
    """Raises `UserError` unless each named factor has a file of weights with the shapes of the recipe's model.

    This runs before memory is allocated for the model. A short recipe can describe a model that is larger than the
    machine's memory. Such a recipe is refused here unless its files of weights are equally large.
    """
    for factor in build_model(recipe, on="meta").all_factors:
        if factor.name in names:
            check_header(_trained(run, factor), factor, lambda metadata: None)


def check_header(path: Path, factor: Factor, check: CheckMetadata) -> None:
    """Checks the header of a file of weights as `read_weights` does, without reading tensors."""
    with advising(path):
        _checking(path, factor, check)(*files.read_header(path))


def load_weights(run: RunFolder, factor: Factor) -> dict[str, str]:
    """Loads a factor's trained weights and the limits of its parameters, and returns the metadata of their file.

    The metadata includes the step and whether the weights are averaged. Raises `UserError` if the file is missing,
    damaged or from another model.
    """
    path = _trained(run, factor)
    expected = [*recipe_part(read_recipe(run.recipe), factor.name).values()]

    def check(metadata: Mapping[str, str]) -> None:
        if any(differences(recorded_part(metadata, path), expected, shared=True)):
            raise UserError(
                f"{path} does not belong to factor {factor.name} of this recipe: it was trained with another image "
                "size, view or network; restore the original file, or train the factor in a new folder"
            )

    metadata = read_weights(path, factor, check)
    load_limits(factor, metadata, path)
    return metadata


def read_weights(path: Path, factor: Factor, check: CheckMetadata) -> dict[str, str]:
    """Loads weights from a file into a factor, without limits, and returns the metadata of the file.

    Weights of another floating point type, such as half precision (float16), are converted to the factor's type.

    Before any tensor is read, `check` is called with the metadata. It raises `UserError` to refuse the file. Also
    raises `UserError` if the file is missing, if its tensors do not have the factor's shapes, if they have other types
    or are not finite, and if the file is damaged.
    """
    with advising(path):
        tensors, metadata = files.read_tensors(path, _checking(path, factor, check))
    _check_values(factor, tensors, path)
    factor.load_state_dict(tensors)
    return metadata


def _check_values(factor: Factor, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises `UserError` unless tensors have the factor's types, or other floating point types, and weights are finite.

    Buffers, such as masks, may be infinite.
    """
    weights = dict(factor.named_parameters())
    for name, expected in factor.state_dict().items():
        problem, kinds = "", {tensors[name].dtype, expected.dtype}
        if len(kinds) > 1 and not kinds <= FLOATING:
            problem = f"has the type {tensors[name].dtype}; expected {expected.dtype}"
        elif name in weights and not tensors[name].to(expected.dtype).isfinite().all():
            problem = f"has values that are not finite (NaN or infinity) in {expected.dtype}"
        if problem:
            advice = "restore the original file, or train the factor in a new folder"
            raise UserError(f"{path} cannot be used: its tensor {one_line(name, LONGEST_NAME)} {problem}; {advice}")


@attrs.frozen
class Trained:
    """Facts about a factor's training, from the metadata of its file of weights."""

    steps: int | None
    """Number of steps that were done. None if a user's own training loop trained the weights and the number is
    unknown."""
    total: int | None
    """Number of steps that were planned. It is larger than `steps` if training stopped early. None for weights of a
    user's own training loop, for which the recipe plans nothing."""
    history: History
    """The parts of the training, and the weights that it began with."""
    own: bool = False
    """Whether a user's own training loop trained the weights."""


def read_trained(run: RunFolder, name: str) -> Trained | None:
    """Facts about the training of the factor `name`; None if the factor has no weights.

    Tensors are not read. Raises `DamagedFile` if the header of the file is invalid or incomplete.
    """
    path = run.weights(name)
    if not files.is_file(path):
        return None
    with advising(path):
        metadata = files.read_metadata(path)
        own, history = files.metadata_entry(metadata, WEIGHTS, path) == OWN, read_history(metadata, path)
        steps, total = (count(metadata, key, path) for key in ("trained_steps", "complete_at"))
    return Trained(steps, total, history, own)


def count(metadata: Mapping[str, str], key: str, path: Path) -> int | None:
    """A number of steps in the metadata of a file; None if it is missing. Raises `DamagedFile` for other texts."""
    text = metadata.get(key)
    if text is not None and re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise files.DamagedFile(f"{path} is damaged: its metadata entry '{key}' is no number of steps")
    return None if text is None else int(text)


def recipe_part(recipe: Recipe, name: str) -> dict[str, dict[str, Any]]:
    """The keys of a recipe that give meaning to the weights of the factor `name`, as tables of plain values by path.

    These are the image, the views down to the factor, the factor's networks and, if there is one, the condition. The
    support of a decoder is not among them, because the weights fit both a free and a restricted decoder. Files of
    weights hold the tables in this order.
    """
    if name == CONDITION_FACTOR:
        assert recipe.condition is not None
        return {CONDITION: _condition_part(recipe), "condition.prior": unstructure(recipe.condition.prior)}
    place = recipe.factor_names.index(name)
    parts: dict[str, Any] = {"image": recipe.image}
    parts |= {f"stage[{number}].view": stage.view for number, stage in enumerate(recipe.stage[: place + 1])}
    if place < len(recipe.stage):
        own = recipe.stage[place]
        parts |= {f"stage[{place}].embedding": own.embedding, f"stage[{place}].decoder": own.decoder}
    else:
        parts["prior"] = recipe.prior
    found = {path: unstructure(part) for path, part in parts.items()}
    if recipe.condition is not None:
        embedding = unstructure(recipe.condition.embedding)
        found[CONDITION] = {CONDITION: {**_condition_part(recipe), "embedding": embedding}}
    return found


def _condition_part(recipe: Recipe) -> dict[str, Any]:
    """The keys of a recipe that give meaning to the values of its condition."""
    assert recipe.condition is not None
    described = recipe.condition.describe(recipe.image)
    facts: dict[str, Any] = {"kind": described.kind, "names": list(described.names), "optional": described.optional}
    facts |= {} if recipe.condition.augmentation is None else {"augmentation": recipe.condition.augmentation}
    return {**facts, "spec": unstructure(described.spec)}


def recorded_part(metadata: Mapping[str, str], path: Path) -> Any:
    """The tables of the `recipe_part` in the metadata of a file of weights."""
    return files.parse_json(files.metadata_entry(metadata, "recipe", path))


@contextlib.contextmanager
def advising(path: Path) -> Iterator[None]:
    """Appends advice on recovery to an error about the file `path`: weights, or factors in another arithmetic."""
    try:
        yield
    except files.DamagedFile as error:
        advice = AGAIN
        if path.match("older/*/factors/*/*"):
            advice = "restore it from a copy, because it cannot be made again"
        elif not SAVED.fullmatch(path.name):
            advice = f"delete this file, and `auxar integers` makes it again from the training images; or {AGAIN}"
        elif files.entries(path.parent, "training-*.safetensors"):
            advice = "delete this file, and `auxar run` writes it again from the last checkpoint"
        raise files.DamagedFile(f"{error}; {advice}") from None


def _checking(path: Path, factor: Factor, check: CheckMetadata) -> Callable[[files.Shapes, Mapping[str, str]], None]:
    def check_all(shapes: files.Shapes, metadata: Mapping[str, str]) -> None:
        check_versions(factor, metadata, path)
        check(metadata)
        check_shapes(factor, shapes, path)

    return check_all


def _trained(run: RunFolder, factor: Factor) -> Path:
    path = run.weights(factor.name)
    if not files.is_file(path):
        told = f"factor {factor.name} is not trained; train it with `auxar run` and the run's recipe"
        if run.saved and not files.entries(run.path, "factors/*/training-*.safetensors"):
            told += f", or, if the model was exported, {AGAIN}"
        raise UserError(f"{path} is missing: {AGAIN if run.model else told}")
    return path


def check_whole(path: Path) -> None:
    """Raises `DamagedFile`, with advice, if a file of weights or a checkpoint is damaged."""
    with advising(path):
        files.read_tensors(path)


def check_shapes(factor: Factor, shapes: files.Shapes, path: Path) -> None:
    """Raises `UserError` unless the names and shapes of tensors are those of the factor's state dict.

    The message names the file and one tensor.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in factor.state_dict().items()}
    if expected != shapes:
        wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
        raise UserError(
            f"{path} does not belong to factor {factor.name} of this recipe: {len(wrong)} tensor(s) differ in name or "
            f"shape; the first is {one_line(wrong[0], LONGEST_NAME)}: expected {expected.get(wrong[0], 'no tensor')}, "
            f"found {one_line(str(shapes.get(wrong[0], 'no tensor')), LONGEST_NAME)}"
        )
