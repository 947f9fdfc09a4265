"""Gives the trained factors of a run their limits without training, in the files of weights and of integers."""

from __future__ import annotations

import attrs
import torch

from auxar.data.sets import DataSets
from auxar.errors import logger
from auxar.files import read_checksum, read_tensors, write_tensors
from auxar.model import Factor
from auxar.recipe import Recipe
from auxar.runs.converted import ConvertedFactors, write_converted
from auxar.runs.layout import RunFolder
from auxar.runs.limits import LIMITS, limits_entry
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
        before = factor.limits
        chain, trained, sets = at_crops(model, factor, data, recipe)
        config, images = recipe.training_of(factor.name), sets.of(factor.name).train
        limit_factor(chain, trained, images, config, recipe.evaluation.batch_size, torch.device("cpu"))
        factor.limit(trained.limits)
        if factor.limits != before:
            _write(run, recipe, factor)
            changed.append(factor.name)
    return LimitedRun(run, {factor.name: dict(factor.limits) for factor in model.all_factors}, tuple(changed))


def _write(run: RunFolder, recipe: Recipe, factor: Factor) -> None:
    """Writes the limits of a factor into the files of its weights and of its integers."""
    arithmetics = [ConvertedFactors(run, name) for name in recipe.registry.names("arithmetic")]
    stored = [(files, *files.read(factor.name)) for files in arithmetics if files.origin(factor.name)]
    path = run.weights(factor.name)
    tensors, metadata = read_tensors(path)
    metadata.pop(LIMITS, None)
    write_tensors(path, tensors, metadata | limits_entry(factor))
    logger.info("limits: %s", path)
    for files, converted, origin in stored:
        limited = converted.with_limits(factor.limits)
        origin = attrs.evolve(origin, weights=read_checksum(path)).with_digests(limited)
        write_converted(files.path(factor.name), limited, origin)
        files.write_record(factor.name, origin)
        logger.info("limits: %s", files.path(factor.name))
