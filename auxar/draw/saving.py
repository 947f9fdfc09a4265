"""Saves a model that a training loop of the user has trained, as a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from auxar.arguments import as_integer
from auxar.data.writing import new_folder
from auxar.errors import UserError, did_you_mean, one_line, shown
from auxar.files import write_tensors
from auxar.model import FLOAT, Chain, Factor
from auxar.recipe import Recipe
from auxar.recipe.building import build_model
from auxar.runs.history import HISTORY, History, Origin, Part
from auxar.runs.layout import RunFolder
from auxar.runs.limits import limits_entry
from auxar.runs.opening import begin_run
from auxar.runs.versions import versions_entry
from auxar.runs.weights import OWN, WEIGHTS, recipe_part
from auxar.training.factors import chosen_factors

COMPILED = "_orig_mod."
"""Part of the names of weights below a module that `torch.compile` has wrapped."""
MOST_STEPS = 10**18
"""Numbers of training steps are less than this."""


def save_as_run(
    path: Path,
    chain: nn.Module,
    recipe: Recipe | None,
    *,
    only: Sequence[str],
    steps: int | Mapping[str, int] | None,
    origins: Mapping[str, Origin],
) -> RunFolder:
    """Writes the folder of a run with the weights of a chain, all at once.

    `only` names the factors to save; empty for all. `steps` are the steps of the training loop, for all factors or by
    factor. `origins` are the weights of other runs that factors were loaded from. Raises `UserError`, and writes
    nothing, if there is no recipe, if the folder exists and is not empty, or if the weights are not finite or do not
    fit the recipe.
    """
    if recipe is None:
        raise UserError(
            "a model without a recipe cannot be saved as a run; auxar.build makes a model from a recipe, and "
            "ImageModel(chain, auxar.load_recipe(path)) adds a recipe to a chain"
        )
    names = chosen_factors(recipe, only)
    done = {name: _steps_of(steps, name, names) for name in names}
    # Without wrappers of `torch.compile`, DistributedDataParallel and Accelerate, which stay unchanged.
    prior: Chain = extract_model_from_parallel(chain, keep_fp32_wrapper=True, keep_torch_compile=False)
    if prior.arithmetic != FLOAT:
        raise UserError(
            f"the model computes with the arithmetic '{prior.arithmetic}', whose numbers cannot be trained or saved; "
            "load it with arithmetic='float', or copy the run's folder"
        )
    factors = {factor.name: factor for factor in prior.all_factors}
    expected = {factor.name: factor for factor in build_model(recipe, on="meta").all_factors}
    if list(factors) != list(expected):
        raise UserError(
            f"the model has the factors {', '.join(factors)}, but its recipe has {', '.join(expected)}; auxar.build "
            "makes a model that fits its recipe"
        )
    tensors = {name: _tensors(factors[name], expected[name]) for name in names}
    with new_folder(path) as folder:
        begin_run(folder, recipe)
        run = RunFolder(folder)
        for name in names:
            metadata = {"factor": name, WEIGHTS: OWN, "recipe": json.dumps([*recipe_part(recipe, name).values()])}
            steps_of, known = done[name], dict[str, str]()
            if steps_of is not None:
                known = {"step": str(steps_of), "trained_steps": str(steps_of)}
            history = History(() if steps_of is None else (Part(1, steps_of),), origins.get(name))
            metadata |= {HISTORY: history.text(), **versions_entry(expected[name])}
            metadata |= limits_entry(factors[name]) | known
            write_tensors(run.weights(name), tensors[name], metadata)
    return RunFolder(path)


def _steps_of(steps: int | Mapping[str, int] | None, name: str, names: Sequence[str]) -> int | None:
    if isinstance(steps, Mapping):
        for other in steps:
            if other not in names:
                raise UserError(f"steps: no saved factor is named {shown(other)}{did_you_mean(str(other), names)}")
        steps = steps.get(name)
    return None if steps is None else as_integer(steps, "steps", 0, MOST_STEPS)


def _tensors(factor: Factor, expected: Factor) -> dict[str, Tensor]:
    """The weights of a factor on the CPU, in the types of the recipe's model.

    Raises `UserError` unless they are finite and have the names and shapes of the `expected` factor.
    """
    found = {name.replace(COMPILED, ""): tensor.detach() for name, tensor in factor.state_dict().items()}
    own = expected.state_dict()
    for name in sorted(found.keys() | own.keys()):
        shapes = [tuple(tensors[name].shape) if name in tensors else None for tensors in (own, found)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"the network of factor {factor.name} is not the recipe's: {one_line(name)}: expected shape "
                f"{shapes[0]}, found {shapes[1]}; auxar.build makes a model of a recipe"
            )
    converted = {name: tensor.to("cpu", own[name].dtype) for name, tensor in found.items()}
    for name, _ in expected.named_parameters():  # Buffers may be infinite by design, such as a mask for logits.
        if not converted[name].isfinite().all():
            raise UserError(
                f"the weights of factor {factor.name} are not finite: {one_line(name)}; nothing was saved. A lower "
                "learning rate or a limit on the gradient's norm may help"
            )
    return converted
