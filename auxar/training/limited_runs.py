"""Gives the trained factors of a run their limits without training, in the files of weights and of integers."""

from __future__ import annotations

import attrs
import torch

from auxar.data.sets import DataSets
from auxar.errors import logger
from auxar.files import read_checksum, read_tensors, write_tensors
from auxar.model import Converted, Factor
from auxar.recipe import Recipe
from auxar.runs.converted import ConvertedFactors, write_converted
from auxar.runs.layout import RunFolder
from auxar.runs.limits import with_limits
from auxar.runs.weights import trained_model
from auxar.training.factors import at_crops
from auxar.training.limits import limit_factor


@attrs.frozen
class LimitedRun:
    """The result of `auxar.limits`."""

    folder: RunFolder
    """The folder of the run."""
    limits: dict[str, dict[str, float]]
    """The upper limits of each factor's parameters, by the names of the factor and of the kind of parameters."""
    changed: tuple[str, ...]
    """Names of the factors that had other limits before."""


def limit_run(run: RunFolder, recipe: Recipe, data: DataSets) -> LimitedRun:
    """Gives the trained factors of a run their limits. One process calls this while it holds the run's lock.

    Factors that already have these limits keep their files. Integers that were made from the weights keep their
    numbers, and have the limits, too. Raises `UserError` if a factor is not trained or a file is damaged.
    """
    model = trained_model(run, recipe).eval()
    changed = []
    for factor in model.all_factors:
        before = dict(factor.limits)
        config = recipe.training_of(factor.name)
        chain, own, sets = at_crops(model, factor, data, recipe)
        depth = 0 if config.data is None else config.data.depth
        images, size = sets.of(factor.name).train, recipe.evaluation.batch_size
        limit_factor(chain, own, images, torch.device("cpu"), depth=depth, batch_size=size)
        factor.limit(own.limits)
        if factor.limits != before:
            _write(run, recipe, factor)
            changed.append(factor.name)
    limits = {factor.name: dict(factor.limits) for factor in model.all_factors}
    return LimitedRun(run, limits, tuple(changed))


def _write(run: RunFolder, recipe: Recipe, factor: Factor) -> None:
    """Writes the limits of a factor into the files of its weights and of its integers."""
    arithmetics = [ConvertedFactors(run, name) for name in recipe.registry.names("arithmetic")]
    converted = [(files, *files.read(factor.name)) for files in arithmetics if files.origin(factor.name)]
    path = run.weights(factor.name)
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, with_limits(metadata, factor))
    logger.info("limits: %s", path)
    for files, integers, made in converted:
        description = dict(integers.without_limits().description)
        description |= {"limits": dict(factor.limits)} if factor.limits else {}
        limited = Converted(integers.tensors, description)
        made = attrs.evolve(made, weights=read_checksum(path)).with_digests(limited)
        write_converted(files.path(factor.name), limited, made)
        files.write_record(factor.name, made)
        logger.info("limits: %s", files.path(factor.name))
