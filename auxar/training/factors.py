"""Trains the factors of a run: one after another in all processes together, or each factor in one process."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator

from auxar.arguments import check_strings
from auxar.data import DataSets
from auxar.distributed.group import Team, shares
from auxar.errors import UserError, did_you_mean
from auxar.model import Chain
from auxar.model.factor import CONDITION_FACTOR
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.building import build_model
from auxar.recipe.cost import factor_costs
from auxar.runs.layout import RunFolder
from auxar.runs.versions import check_saved
from auxar.training.display import Display, Preview
from auxar.training.lengths import is_trained, number_of_images
from auxar.training.loop import train_factor
from auxar.training.remaining import later_steps
from auxar.training.trackers import start_trackers
from auxar.training.validation import ValidationImages

logger = logging.getLogger("auxar")


def chosen_factors(recipe: Recipe, only: Sequence[str]) -> Sequence[str]:
    """Names of the factors to train: `only`, or all factors if it is empty. Raises `UserError` for an unknown name."""
    check_strings(only, "only", "names of factors")
    for name in only:
        if name not in recipe.factor_names:
            raise UserError(f"only: the recipe has no factor named '{name}'{did_you_mean(name, recipe.factor_names)}")
    return only or recipe.factor_names


def train_factors(
    recipe: Recipe,
    registry: Registry,
    names: Sequence[str],
    data: DataSets,
    run: RunFolder,
    accelerator: Accelerator,
    preview: Preview | None = None,
    report: Callable[[Chain], None] | None = None,
) -> Chain:
    """Trains the named factors and writes their weights.

    With `training.parallel = "factors"`, each process trains different factors and then waits until all of them are
    trained. In the returned model, only the factors that this process trained have trained weights.

    `preview` draws images every `training.sample_every` steps. `report` is called with the model after each factor that
    this process has trained if others are still to be trained. It may load trained weights into the model.
    """
    if recipe.training.trackers:
        start_trackers(recipe.training.trackers, run.path, accelerator)
    apart = recipe.training.parallel == "factors" and accelerator.num_processes > 1
    team = Team(accelerator, alone=apart)
    mine = _share(recipe, registry, names, data, accelerator) if apart else names
    validation = None if data.validation is None else ValidationImages(data.validation, recipe.evaluation.batch_size)
    # The initial weights depend only on the seed, and not on which factors this process trains.
    torch.manual_seed(recipe.training.seed)
    model = build_model(recipe, registry)
    check_saved(run, model.all_factors)
    # The coarsest factor is trained first: it is usually the fastest, so problems with the data show up early.
    for factor in reversed(model.all_factors):
        if factor.name in mine:
            config = recipe.training_of(factor.name)
            later = [other.name for other in model.all_factors[: factor.depth] if other.name in mine]
            display = _display(recipe, registry, factor.name, later, run, data, preview)
            train_factor(
                model,
                factor,
                data.train,
                config,
                run,
                team,
                workers=recipe.data.workers,
                drop=_drop(recipe, factor.name),
                validation=validation,
                display=display,
            )
            factor.to("cpu")
            if report is not None and (later or apart):
                report(model)
                model.to("cpu")
    # Other processes may still train for days. A collective operation would time out, so this process polls for the
    # weight files.
    images = number_of_images(data.train)
    while any(not is_trained(run, name, recipe.training_of(name).total_steps(images)) for name in names):
        time.sleep(0.5)
    return model


def _drop(recipe: Recipe, name: str) -> float:
    """The fraction of images whose condition is dropped in the training of a factor; 0 for that of the condition."""
    return 0.0 if recipe.condition is None or name == CONDITION_FACTOR else recipe.condition.drop


def _display(
    recipe: Recipe,
    registry: Registry,
    name: str,
    later: Sequence[str],
    run: RunFolder,
    data: DataSets,
    preview: Preview | None,
) -> Display:
    """The display of the training of the factor `name`, after which this process trains the factors `later`."""
    images = number_of_images(data.train)
    steps = functools.partial(later_steps, recipe, registry, name, later, run, images) if later else None
    return Display(recipe.training_of(name).sample_every, preview, steps)


def _share(
    recipe: Recipe, registry: Registry, names: Sequence[str], data: DataSets, accelerator: Accelerator
) -> list[str]:
    """The names of the factors that this process trains if factors are divided among processes. Logs the division."""
    images = number_of_images(data.train)
    costs = {}
    for cost in factor_costs(recipe, registry):
        config = recipe.training_of(cost.factor)
        costs[cost.factor] = float(cost.training_multiply_adds * config.batch_size * config.total_steps(images))
    found = shares({name: costs[name] for name in names}, accelerator.num_processes)
    for rank, own in enumerate(found):
        logger.info("process %d of %d trains %s", rank, len(found), ", ".join(own) or "no factor")
    return found[accelerator.process_index]
