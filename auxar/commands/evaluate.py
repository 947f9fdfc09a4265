"""The command `evaluate`: computes the bits/dim of an existing run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import UserError

if TYPE_CHECKING:
    from auxar.report.summary import MeasuredRun

logger = logging.getLogger("auxar")


def _shown(run: MeasuredRun) -> Result:

    from auxar.evaluation.stored import other_evaluations, read_evaluation
    from auxar.report import words
    from auxar.report.summary import EvaluatedShard
    from auxar.report.text import evaluation_lines

    if isinstance(run, EvaluatedShard):
        return Result([str(run.file)], {"run": str(run.path), "shard": run.shard, "file": str(run.file)})
    evaluation = read_evaluation(run.evaluation)
    others = other_evaluations(run.path, evaluation)
    lines, record = evaluation_lines(evaluation), {"run": str(run.path), **evaluation.to_dict()}
    for other in others:
        lines += ["", words.cost_of(other, evaluation)]
        costs = {images: other.cost(evaluation, images).to_dict() for images in other.images}
        record.setdefault("others", {})[other.arithmetic] = other.to_dict() | {"cost": costs}
    return Result(lines, record)


@command("Measure", show=_shown)
def evaluate(
    run: str | PathLike[str],
    *,
    arithmetic: str | None = None,
    settings: Sequence[str] = (),
    shard: str | None = None,
    merge: int | None = None,
    trust_plugins: bool = False,
) -> MeasuredRun:
    """Computes the bits/dim of a run, in total and for every factor.

    The trained factors are evaluated on held-out and training images. This writes evaluation.safetensors (the
    log-likelihood of every image, from which all figures follow) and the report. In integers, the same images are also
    evaluated with the integers that `auxar integers` made, which writes evaluation-integer.safetensors. For a model
    that comes trained, these files are written into the folder ./NAME, without a report. `auxar compare RUN` prints the
    figures of a stored evaluation.

    The images can be evaluated in shards. A shard only stores the log-likelihoods of its images in the folder
    RUN/shards, and one that is done is not computed again. Merging writes what is written without shards, and removes
    the files of the shards.

    Args:
        arithmetic: float, or integer: also evaluate in integers, and print the difference (default: the recipe's
            arithmetic)
        settings: set keys of [evaluation], data.path, data.options and data.workers, such as evaluation.batch_size=64
            or evaluation.train_images=0

    Returns:
        The folder in which the evaluation is, with its held-out bits/dim.

    Raises:
        UserError: no factor is trained, an argument is invalid, or shards are missing or were computed with other
            weights, images or settings

    Examples:
        >>> import auxar
        >>> run = auxar.evaluate("runs/quickstart", settings=["evaluation.heldout_images=4"])
        >>> run.evaluation.as_posix(), run.bits_per_dim > 0
        ('runs/quickstart/evaluation.safetensors', True)
    """
    from auxar.arguments import as_path
    from auxar.commands.results import check_of
    from auxar.data import load_images
    from auxar.distributed.accelerator import make_accelerator
    from auxar.distributed.joining import working_together
    from auxar.distributed.shards import Division
    from auxar.evaluation.likelihoods import RunEvaluation, evaluate_run
    from auxar.evaluation.shards import NAME, evaluate_shard, evaluation_files, merged
    from auxar.model import FLOAT
    from auxar.recipe.building import build_model
    from auxar.recipe.options import check_settings
    from auxar.report.summary import EvaluatedShard, MeasuredRun
    from auxar.report.updating import update_report
    from auxar.runs.arithmetic import chosen_arithmetic, model_in
    from auxar.runs.lock import holding_for_all
    from auxar.runs.opening import open_run, run_facts
    from auxar.runs.shards import holding_shard, work_of
    from auxar.runs.weights import check_sizes

    with working_together() as processes:
        with processes.agreeing() as facts:
            division = Division.of(shard, merge, processes.count)
            folder = as_path(run, "run")
            check_settings(settings, "evaluation.", "data.path", "data.options", "data.workers")
            opened, recipe, registry = open_run(folder, settings, trust_plugins=trust_plugins)
            trained = opened.trained(recipe)
            if not trained:
                raise UserError(f"{opened.path}: no factor is trained yet; train the run with `auxar run RECIPE`")
            check_sizes(opened, recipe, registry, trained)
            name = chosen_arithmetic(recipe, registry, arithmetic).name
            # With the recipe's arithmetic, a run that is not finished is evaluated in floating point only.
            wanted = name != FLOAT and (arithmetic is not None or len(trained) == len(recipe.factor_names))
            others = {name: model_in(opened, recipe, registry, name)} if wanted else {}
            accelerator = make_accelerator(recipe.training.precision, opened.path)
            facts |= {"command": "evaluate", "--shard": str(division.shard), **run_facts(opened, recipe, registry)}
        output, part = opened.output, division.shard

        def check(_: object) -> None:
            check_of(opened)(output.path)

        with (
            holding_for_all(output.path, processes, check)
            if part is None
            else holding_shard(output.shards, NAME, part, processes, check)
        ):
            with processes.agreeing() as facts:
                data = load_images(recipe.data, recipe.image, registry, recipe.condition)
                facts |= data.facts
            model = build_model(recipe, registry)
            if division == Division():
                evaluate_run(opened, recipe, model, data, accelerator, others=others)
            else:
                evaluation = RunEvaluation.of(opened, recipe, model, data, others)
                digests = {name: dict(other.digests) for name, other in others.items()}
                # The checksums are those of the weights that were just loaded.
                work = work_of({**run_facts(opened, recipe, registry), "the arithmetics": digests, **data.facts})
                files = evaluation_files(opened, work)
                if part is not None:
                    evaluate_shard(evaluation, files, part, accelerator, processes)
                    return EvaluatedShard(output.path, shard=str(part), file=files.path(part))
                assert division.merge is not None
                evaluation.warn()
                evaluation.conclude(merged(evaluation, files, division.merge))
            if opened.model is None:
                update_report(opened, accelerator)
            else:
                for each in (FLOAT, *others):
                    logger.info("evaluation: %s", output.evaluation_in(each))
            if division.merge is not None:
                # They are removed last, so that a command that was stopped can be repeated.
                files.remove(division.merge)
    return MeasuredRun(output.path)
