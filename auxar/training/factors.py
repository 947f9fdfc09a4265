"""Training the factors of a run, one after the other or shared among processes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence, Sized

import torch
from accelerate import Accelerator

from auxar.data import DataSets
from auxar.distributed.group import Team, shares
from auxar.errors import UserError, did_you_mean
from auxar.interfaces import Prior
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.building import build_model
from auxar.recipe.cost import factor_costs
from auxar.runs.layout import RunFolder
from auxar.training.loop import train_factor

logger = logging.getLogger("auxar")


def chosen_factors(recipe: Recipe, only: Sequence[str]) -> Sequence[str]:
    """The names of the factors to train: those in `only`, or all. Raises `UserError` for an unknown name."""
    for name in only:
        if name not in recipe.factor_names:
            raise UserError(f"--factors: no factor is named '{name}'{did_you_mean(name, recipe.factor_names)}")
    return only or recipe.factor_names


def train_factors(
    recipe: Recipe, registry: Registry, names: Sequence[str], data: DataSets, run: RunFolder, accelerator: Accelerator
) -> Prior:
    """Trains the named factors and writes their weights; returns the model, in which other factors are untrained.

    With `training.parallel = "factors"` each process trains factors of its own, and all wait for the last one.
    """
    if recipe.training.trackers:
        accelerator.init_trackers(run.path.name)
    apart = recipe.training.parallel == "factors" and accelerator.num_processes > 1
    team = Team(accelerator, alone=apart)
    mine = _share(recipe, registry, names, data, accelerator) if apart else names
    # Weights before training follow from the seed alone, whichever factors are trained here.
    torch.manual_seed(recipe.training.seed)
    model = build_model(recipe, registry)
    # The coarsest first: it is the quickest, and shows early whether the data are as they should be.
    for factor in reversed(model.factors):
        if factor.name in mine:
            config = recipe.training_of(factor.name)
            train_factor(model, factor, data.train, config, run, team, workers=recipe.data.workers)
            factor.to("cpu")
    # Others may have days to go, for which no process can be kept waiting in an exchange with them.
    while any(not run.weights(name).is_file() for name in names):
        time.sleep(0.5)
    return model


def _share(
    recipe: Recipe, registry: Registry, names: Sequence[str], data: DataSets, accelerator: Accelerator
) -> list[str]:
    """The factors that this process trains, where each process trains factors of its own."""
    images = len(data.train) if isinstance(data.train, Sized) else 0
    costs = {}
    for cost in factor_costs(recipe, registry):
        config = recipe.training_of(cost.factor)
        costs[cost.factor] = float(cost.multiply_adds * config.batch_size * config.total_steps(images))
    found = shares({name: costs[name] for name in names}, accelerator.num_processes)
    for rank, own in enumerate(found):
        logger.info("process %d of %d trains %s", rank, len(found), ", ".join(own) or "nothing: it has no factor")
    return found[accelerator.process_index]
