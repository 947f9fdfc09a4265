"""Saves a model that a training loop of the user has trained, as a run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from auxar.arguments import check_strings
from auxar.data.writing import new_folder
from auxar.errors import UserError, did_you_mean, one_line, shown
from auxar.files import kind, write_tensors
from auxar.model import FLOAT, Chain, Factor
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.building import build_model
from auxar.runs.history import HISTORY, History, Origin, Part
from auxar.runs.layout import RunFolder
from auxar.runs.opening import begin_run
from auxar.runs.versions import versions_entry, versions_of
from auxar.runs.weights import OWN, WEIGHTS, recipe_part

COMPILED = "_orig_mod."
"""Part of the names of weights below a module that `torch.compile` has wrapped."""
MOST_STEPS = 10**18
"""Numbers of training steps are less than this."""


def save_as_run(
    path: Path,
    chain: nn.Module,
    recipe: Recipe,
    registry: Registry,
    *,
    only: Sequence[str],
    steps: int | Mapping[str, int] | None,
    origins: Mapping[str, Origin],
) -> RunFolder:
    """Writes the folder of a run with the weights of a chain, all at once.

    `only` names the factors to save; empty for all. `steps` are the steps of the training loop, for all factors or by
    factor. `origins` are the weights of other runs that factors were loaded from. Raises `UserError`, and writes
    nothing, if the folder exists and is not empty, or if the weights are not finite or do not fit the recipe.
    """
    _check_new(path)
    names = _chosen(recipe, only)
    done = {name: _steps_of(steps, name, names) for name in names}
    prior = _unwrapped(chain)
    if prior.arithmetic != FLOAT:
        raise UserError(
            f"the model computes with the arithmetic '{prior.arithmetic}', whose numbers cannot be trained or saved; "
            "load it with arithmetic='float', or copy the run's folder"
        )
    factors = {factor.name: factor for factor in prior.all_factors}
    expected = {factor.name: factor for factor in build_model(recipe, registry, on="meta").all_factors}
    if list(factors) != list(expected):
        raise UserError(
            f"the model has the factors {', '.join(factors)}, but its recipe has {', '.join(expected)}; auxar.build "
            "makes a model that fits its recipe"
        )
    tensors = {name: _tensors(factors[name], expected[name]) for name in names}
    with new_folder(path) as folder:
        run, _ = begin_run(folder, recipe, registry)
        for name in names:
            metadata = {"factor": name, WEIGHTS: OWN, "recipe": json.dumps(recipe_part(recipe, name))}
            metadata |= {HISTORY: _history(done[name], origins.get(name)).text(), **versions_entry(expected[name])}
            if done[name] is not None:
                metadata |= {"step": str(done[name]), "trained_steps": str(done[name])}
            write_tensors(run.weights(name), tensors[name], metadata)
    return RunFolder(path)


def _check_new(path: Path) -> None:
    found = kind(path, follow_links=True)
    if found is not None and (not path.is_dir() or any(path.iterdir())):
        several = " (with several processes, only one may save)" if "RANK" in os.environ else ""
        raise UserError(f"{path} exists and is not replaced{several}; choose a new folder, or delete this one")


def _chosen(recipe: Recipe, only: Sequence[str]) -> tuple[str, ...]:
    check_strings(only, "only", "names of factors")
    for name in only:
        if name not in recipe.factor_names:
            near = did_you_mean(str(name), recipe.factor_names)
            raise UserError(f"only: the recipe has no factor named {shown(name)}{near}")
    return tuple(name for name in recipe.factor_names if not only or name in only)


def _steps_of(steps: int | Mapping[str, int] | None, name: str, names: Sequence[str]) -> int | None:
    if isinstance(steps, Mapping):
        for other in steps:
            if other not in names:
                raise UserError(f"steps: no saved factor is named {shown(other)}{did_you_mean(str(other), names)}")
        steps = steps.get(name)
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or not 0 <= steps < MOST_STEPS):
        raise UserError(f"steps: expected a number of training steps from 0, or one by factor, got {shown(steps)}")
    return steps


def _history(steps: int | None, origin: Origin | None) -> History:
    return History(() if steps is None else (Part(1, steps),), origin)


def _unwrapped(chain: nn.Module) -> Chain:
    """The chain without wrappers of `torch.compile`, DistributedDataParallel and Accelerate, which stay unchanged."""
    found = extract_model_from_parallel(chain, keep_fp32_wrapper=True, keep_torch_compile=False)
    if not isinstance(found, Chain):
        raise UserError(
            f"model.chain is a {type(found).__name__}; expected the chain of a model, or one that torch.compile, "
            "DistributedDataParallel or Accelerate has wrapped"
        )
    return found


def _tensors(factor: Factor, expected: Factor) -> dict[str, Tensor]:
    """The weights of a factor on the CPU, in the types of the recipe's model.

    Raises `UserError` unless they are finite and have the names and shapes of the `expected` factor.
    """
    found = {name.replace(COMPILED, ""): tensor for name, tensor in factor.state_dict().items()}
    own = expected.state_dict()
    for name in sorted(found.keys() | own.keys()):
        if problem := _problem(found.get(name), own.get(name)):
            raise UserError(
                f"the weights of factor {factor.name} do not fit the recipe: {one_line(name)}: {problem}; auxar.build "
                "makes a model that fits its recipe"
            )
    if strange := sorted(_strange_layers(factor, expected)):
        raise UserError(
            f"the network of factor {factor.name} is not the recipe's: these layers are in only one of them: "
            f"{', '.join(strange)}; a run must compute the same values as the model that it is saved from"
        )
    parameters = {name for name, _ in expected.named_parameters()}
    converted = {}
    for name, tensor in found.items():
        converted[name] = tensor.detach().to("cpu", own[name].dtype)
        # Buffers may be infinite by design, such as a mask that is added to logits.
        if name in parameters and not converted[name].isfinite().all():
            raise UserError(
                f"the weights of factor {factor.name} are not finite: {one_line(name)}; nothing was saved. A lower "
                "learning rate or a limit on the gradient's norm may help"
            )
    return converted


def _problem(found: Tensor | None, expected: Tensor | None) -> str | None:
    """The reason why a tensor cannot be saved as the `expected` one; None if it can."""
    if found is None or expected is None:
        return "the model has no such tensor" if found is None else "the recipe's model has no such tensor"
    if type(found) not in (Tensor, nn.Parameter):
        return f"it is a {type(found).__name__}, whose values may be divided among processes; gather them first"
    if found.is_meta:
        return "it is on the device meta, so it has no values"
    if found.shape != expected.shape:
        return f"expected shape {tuple(expected.shape)}, found {tuple(found.shape)}"
    if found.is_floating_point() != expected.is_floating_point() or found.is_complex() or found.is_quantized:
        return f"expected values that can be stored as {expected.dtype}, found {found.dtype}"
    return None


def _strange_layers(factor: Factor, expected: Factor) -> Iterator[str]:
    """Names of the classes of modules that only one of two networks has. Other layers would compute other values."""
    return iter((versions_of(factor).keys() ^ versions_of(expected).keys()) - {"OptimizedModule"})
