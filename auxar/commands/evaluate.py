"""The command `evaluate`: computes the bits/dim of an existing run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path

from auxar.arguments import as_path
from auxar.commands.results import check_of
from auxar.data import load_images
from auxar.distributed.accelerator import make_accelerator
from auxar.distributed.joining import working_together
from auxar.distributed.shards import Division
from auxar.errors import UserError
from auxar.evaluation.likelihoods import RunEvaluation, evaluate_run
from auxar.evaluation.shards import NAME, evaluate_shard, evaluation_files, merged
from auxar.model import FLOAT
from auxar.recipe.building import build_model
from auxar.recipe.options import check_settings
from auxar.report.updating import update_report
from auxar.runs.arithmetic import chosen_arithmetic, model_in
from auxar.runs.layout import RunFolder
from auxar.runs.lock import holding_for_all
from auxar.runs.opening import open_run, run_facts
from auxar.runs.shards import holding_shard, work_of
from auxar.runs.weights import check_sizes

logger = logging.getLogger("auxar")


def evaluate(
    path: str | PathLike[str],
    *,
    settings: Sequence[str] = (),
    arithmetic: str | None = None,
    shard: str | None = None,
    merge: int | None = None,
    trust_plugins: bool = False,
) -> RunFolder:
    """Evaluates the trained factors of a run, replaces its stored evaluation and updates its report.

    `path` is the run's folder, or the name of a model that comes trained. The evaluation of such a model is written
    into the folder ./NAME, without a report, and the record of this folder is returned.

    With `arithmetic="integer"`, the model is also evaluated with the integers that `auxar.integers` made. The result,
    with its cost against floating point on the same images, is written to `evaluation-integer.json`. The default is the
    arithmetic of the recipe. `settings` are `key=value` strings. They may set keys of [evaluation], `data.path`,
    `data.options` and `data.workers`.

    With `shard="2/7"`, only the log-likelihoods of the second of seven parts of the images are computed and stored in
    the run's folder `shards`. Nothing else is written. Several shards may be computed at the same time, also on
    different machines that share the folder. A shard that is done is not computed again. When all are done,
    `merge=7` makes of them what this function writes without shards, and removes their files.

    Raises `UserError` if shards are missing, or if they were computed with other weights, images or settings.

    Examples:
        >>> import auxar
        >>> run = auxar.evaluate("runs/quickstart", settings=["evaluation.heldout_images=4"])
        >>> run.evaluation.as_posix()
        'runs/quickstart/evaluation.json'
    """
    with working_together() as processes:
        with processes.agreeing() as facts:
            division = Division.of(shard, merge, processes.count)
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
            facts |= {"command": "evaluate", "--shard": str(division.shard), **run_facts(run, recipe, registry)}

        def check(_: Path) -> None:
            check_of(run)(run.output.path)

        held: AbstractContextManager[None]
        if division.shard is None:
            held = holding_for_all(run.output.path, processes, check)
        else:
            held = holding_shard(run.output.shards, NAME, division.shard, processes, check)
        with held:
            with processes.agreeing() as facts:
                data = load_images(recipe.data, recipe.image, registry, recipe.condition)
                facts |= data.facts
            model = build_model(recipe, registry)
            if division.shard is None and division.merge is None:
                evaluate_run(run, recipe, model, data, accelerator, others=others)
            else:
                evaluation = RunEvaluation.of(run, recipe, model, data, others)
                digests = {name: dict(other.digests) for name, other in others.items()}
                # The checksums are those of the weights that were just loaded.
                work = work_of({**run_facts(run, recipe, registry), "the arithmetics": digests, **data.facts})
                files = evaluation_files(run, work)
                if division.shard is not None:
                    evaluate_shard(evaluation, files, division.shard, accelerator, processes)
                    return run.output
                assert division.merge is not None
                evaluation.warn()
                evaluation.conclude(merged(evaluation, files, division.merge))
            if run.model is None:
                update_report(run, accelerator)
            else:
                for each in (FLOAT, *others):
                    logger.info("evaluation: %s", run.output.evaluation_in(each))
            if division.merge is not None:
                # They are removed last, so that a command that was stopped can be repeated.
                files.remove(division.merge)
    return run.output
