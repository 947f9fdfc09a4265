"""Training that starts with the trained weights of another run (`training.init`).

The other run may come from an untrusted source. Its plugin files are neither needed nor loaded.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auxar.errors import UserError, did_you_mean, naming, one_line, shown
from auxar.files import is_file, read_checksum
from auxar.model import Chain, Factor
from auxar.model.factor import CONDITION_FACTOR
from auxar.recipe import Recipe, read_recipe
from auxar.recipe.facts import differences
from auxar.runs.history import Origin
from auxar.runs.layout import RunFolder
from auxar.runs.models import find_run
from auxar.runs.weights import CONDITION, check_header, read_weights, recipe_part, recorded_part
from auxar.training.lengths import is_trainable

FREE = re.compile(r"image\.(height|width)|.*\.dropout")
"""The keys that may differ. The shapes of the tensors say whether weights fit another size of images, and dropout
changes only the training."""


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
            with naming(f"{recipe.training_key(factor.name)}.init"):
                path = _source(init, factor)
                check_header(path, factor, functools.partial(_check_part, path, recipe, factor.name))
                facts[f"the checksum of {factor.name}'s initial weights"] = read_checksum(path)
    return facts


def load_init(run: RunFolder, factor: Factor, init: str) -> Origin:
    """Loads the weights of the factor with the same name in the run `init`. Returns a record of them.

    `run` is the run that is trained. Raises `UserError` like `check_init`.
    """
    recipe = read_recipe(run.recipe)
    with naming(f"{recipe.training_key(factor.name)}.init"):
        path = _source(init, factor)
        checksum = read_checksum(path)
        read_weights(path, factor, functools.partial(_check_part, path, recipe, factor.name))
    return Origin(init, checksum)


def _source(init: str, factor: Factor) -> Path:
    """The file of weights of the factor with the same name in `init`, a run's folder or a model that comes trained."""
    source = find_run(Path(init))
    names = read_recipe(source.recipe).factor_names
    if factor.name not in names:
        raise UserError(f"the run {init} has no factor named '{factor.name}'{did_you_mean(factor.name, names)}")
    path = source.weights(factor.name)
    if not is_file(path):
        raise UserError(f"{path} is missing: factor {factor.name} of that run is not trained; train it first")
    return path


def _check_part(path: Path, recipe: Recipe, name: str, metadata: Mapping[str, str]) -> None:
    """Raises `UserError` if the weights in a file were trained with other views or networks than the recipe's.

    Data, supports and the keys in `FREE` may differ.
    """
    recorded, expected = recorded_part(metadata, path), recipe_part(recipe, name)
    if len(recorded) != len(expected):
        few = "fewer" if len(recorded) < len(expected) else "more"
        raise UserError(f"{path} does not fit factor {name}: it was trained with {few} views or conditions")
    if name == CONDITION_FACTOR:  # The prior of a condition may differ.
        expected = {CONDITION: expected[CONDITION]}
    found = dict(zip(expected, recorded, strict=False))
    for key, before, after in differences(found, expected, shared=True):
        if not FREE.fullmatch(key):
            raise UserError(
                f"{path} does not fit factor {name}: it was trained with another image, view or network: {key}: "
                f"expected {shown(after)}, found {one_line(shown(before))}"
            )
