"""Training that starts with the trained weights of another run (`training.init`).

The other run may come from an untrusted source. Its plugin files are neither needed nor loaded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from auxar.errors import UserError, did_you_mean, one_line, shown
from auxar.files import is_file, read_checksum, read_metadata, read_shapes
from auxar.model import Chain, Factor
from auxar.model.factor import CONDITION_FACTOR
from auxar.recipe import Recipe, read_recipe
from auxar.recipe.choices import with_options_before
from auxar.recipe.model_names import names_model, near_model
from auxar.runs.format import check_format
from auxar.runs.history import Origin
from auxar.runs.layout import RunFolder
from auxar.runs.models import find_run
from auxar.runs.versions import check_versions
from auxar.runs.weights import CONDITION, advising, check_shapes, networks_of, read_weights, recipe_part, recorded_part
from auxar.training.lengths import is_trainable, training_key

SIZE_KEYS = ("height", "width")
"""Keys of [image] that may differ: the shapes of the tensors say whether weights fit another size."""
FREE_OPTIONS = ("dropout",)
"""Options of networks that may differ, because they change only the training."""


def check_init(run: RunFolder, recipe: Recipe, model: Chain, chosen: Sequence[str]) -> dict[str, Any]:
    """Checks the weights of other runs that the training of the chosen factors of `run` will start with.

    Returns the checksums in their files, which must be equal in all processes. Factors of `run` that have a checkpoint
    or weights do not need other weights any more. Only headers are read. Raises `UserError`, with the key, if weights
    are missing, damaged or from another network.
    """
    facts = {}
    for factor in model.all_factors:
        init = recipe.training_of(factor.name).init
        started = any(path.parent.name == factor.name for path in run.saved)
        if init is not None and factor.name in chosen and not started and is_trainable(factor):
            with _naming(recipe, factor):
                path = _source(init, factor)
                with advising():
                    metadata = read_metadata(path)
                    check_versions(factor, metadata, path)
                    _check_part(path, recipe, factor.name, metadata)
                    check_shapes(factor, read_shapes(path), path)
                facts[f"the checksum of {factor.name}'s initial weights"] = read_checksum(path)
    return facts


def load_init(run: RunFolder, factor: Factor, init: str) -> Origin:
    """Loads the weights of the factor with the same name in the run `init`. Returns a record of them.

    `run` is the run that is trained. Raises `UserError` like `check_init`.
    """
    recipe = read_recipe(run.recipe)
    with _naming(recipe, factor):
        path = _source(init, factor)
        checksum = read_checksum(path)
        read_weights(path, factor, lambda metadata: _check_part(path, recipe, factor.name, metadata))
        if read_checksum(path) != checksum:
            raise UserError(f"{path} was replaced while it was read; start again when no other process writes it")
    return Origin(init if names_model(init) else os.path.abspath(init), checksum)


@contextlib.contextmanager
def _naming(recipe: Recipe, factor: Factor) -> Iterator[None]:
    """Prepends the key of the recipe to the message of an error."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{training_key(recipe, factor.name)}.init: {error}") from None


def _source(init: str, factor: Factor) -> Path:
    """The file of weights of the factor with the same name in `init`, a run's folder or a model that comes trained."""
    if names_model(init):
        source = find_run(Path(init))
    else:
        source = RunFolder(Path(init))
        if not is_file(source.recipe):
            near = near_model(Path(source.path.name)) or "; expected the folder of a trained run"
            raise UserError(f"{init} is not a run's folder: it has no recipe.toml{near}")
    check_format(source.path)
    names = read_recipe(source.recipe).factor_names
    if factor.name not in names:
        raise UserError(f"the run {init} has no factor named '{factor.name}'{did_you_mean(factor.name, names)}")
    path = source.weights(factor.name)
    if not is_file(path):
        raise UserError(f"{path} is missing: factor {factor.name} of that run is not trained; train it first")
    return path


def _check_part(path: Path, recipe: Recipe, name: str, metadata: Mapping[str, str]) -> None:
    """Raises `UserError` if the weights in a file were trained with other views or networks than the recipe's.

    Data, supports, image sizes and `FREE_OPTIONS` may differ.
    """
    expected, found = recipe_part(recipe, name), recorded_part(metadata, path)
    if name == CONDITION_FACTOR:
        fits = isinstance(found, list) and len(found) == len(expected)
        if not fits or next(_differences(found[0], expected[0]), None):
            raise UserError(f"{path} does not fit factor {name}: it was trained with other conditions")
        return
    place = recipe.factor_names.index(name)
    networks = ["prior"] if name == "prior" else [f"stage[{place}].embedding", f"stage[{place}].decoder"]
    conditions = [isinstance(part[-1], dict) and CONDITION in part[-1] for part in (expected, found) if part]
    if len(set(conditions)) > 1:
        have = ["has a condition" if has else "has none" for has in conditions]
        raise UserError(f"{path} does not fit factor {name}: this recipe {have[0]}, but that of the weights {have[1]}")
    networks += [CONDITION] if recipe.condition is not None else []
    views = len(expected) - 1 - len(networks)
    if not isinstance(found, list) or len(found) != len(expected):
        count = len(found) - 1 - len(networks) if isinstance(found, list) else "none"
        raise UserError(f"{path} does not fit factor {name}: number of views: expected {views}, found {count}")
    names = ["image", *(f"stage[{number}].view" for number in range(views)), *networks]
    found = dict(zip(names, found, strict=True))
    for key, choice in zip(networks, networks_of(recipe, name), strict=False):
        if isinstance(found[key], dict) and choice.config is not None:
            found[key] = with_options_before(found[key], choice.config)
    differences = _differences(found, dict(zip(names, expected, strict=True)))
    if difference := next(differences, None):
        key, before, after = difference
        raise UserError(
            f"{path} does not fit factor {name}: it was trained with another image, view or network: {key}: expected "
            f"{shown(after)}, found {one_line(shown(before))}"
        )


def _differences(found: Any, expected: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields the path and both values of each key with different values in parts of recipes.

    Keys of only one of them are options that a component has in one version and not in the other.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        free = SIZE_KEYS if path == "image" else FREE_OPTIONS
        for key in expected:
            if key in found and key not in free:
                yield from _differences(found[key], expected[key], f"{path}.{key}" if path else key)
    elif found != expected:
        yield path, found, expected
