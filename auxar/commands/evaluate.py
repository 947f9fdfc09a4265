"""The command `evaluate`: computes the bits/dim of an existing run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike

from auxar.arguments import as_path
from auxar.commands.results import check_of
from auxar.data import load_images
from auxar.distributed.accelerator import make_accelerator
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.evaluation.likelihoods import evaluate_run
from auxar.interfaces import FLOAT
from auxar.recipe.building import build_model
from auxar.recipe.options import check_settings
from auxar.report.updating import update_report
from auxar.runs.arithmetic import chosen_arithmetic, model_in
from auxar.runs.layout import RunFolder
from auxar.runs.lock import holding_for_all
from auxar.runs.opening import open_run, run_facts
from auxar.runs.weights import check_sizes

logger = logging.getLogger("auxar")


def evaluate(
    path: str | PathLike[str],
    *,
    settings: Sequence[str] = (),
    arithmetic: str | None = None,
    trust_plugins: bool = False,
) -> RunFolder:
    """Evaluates the trained factors of a run, replaces its stored evaluation and updates its report.

    `path` is the run's folder, or the name of a model that comes trained. The evaluation of such a model is written
    into the folder ./NAME, without a report, and the record of this folder is returned.

    With `arithmetic="integer"`, the model is also evaluated with the integers that `auxar.integers` made. The result,
    with its cost against floating point on the same images, is written to `evaluation-integer.json`. The default is the
    arithmetic of the recipe. `settings` are `key=value` strings. They may set keys of [evaluation], `data.path`,
    `data.options` and `data.workers`.

    Examples:
        >>> import auxar
        >>> run = auxar.evaluate("runs/quickstart", settings=["evaluation.heldout_images=4"])
        >>> run.evaluation.as_posix()
        'runs/quickstart/evaluation.json'
    """
    with working_together() as processes:
        with processes.agreeing() as facts:
            folder = as_path(path, "path")
            check_settings(settings, "evaluation.", "data.path", "data.options", "data.workers")
            run, recipe, registry = open_run(folder, settings, trust_plugins=trust_plugins)
            trained = run.trained(recipe)
            if not trained:
                raise UserError(f"{run.path}: no factor is trained yet; train the run with `auxar run RECIPE`")
            check_sizes(run, recipe, registry, trained)
            name = chosen_arithmetic(recipe, registry, arithmetic).name
            # With the recipe's arithmetic, a run that is not finished is evaluated in floating point only.
            wanted = name != FLOAT and (arithmetic is not None or len(trained) == len(recipe.factor_names))
            others = {name: model_in(run, recipe, registry, name)} if wanted else {}
            accelerator = make_accelerator(recipe.training.precision, run.path)
            facts |= {"command": "evaluate", **run_facts(run, recipe, registry)}
        with holding_for_all(run.output.path, processes, check_of(run)):
            with processes.agreeing() as facts:
                data = load_images(recipe.data, recipe.image, registry, recipe.condition)
                facts |= data.facts
            evaluate_run(run, recipe, build_model(recipe, registry), data, accelerator, others=others)
            if run.model is None:
                update_report(run, accelerator)
            else:
                for each in (FLOAT, *others):
                    logger.info("evaluation: %s", run.output.evaluation_in(each))
    return run.output
