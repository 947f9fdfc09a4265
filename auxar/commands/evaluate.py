"""The command `evaluate`: computes the bits/dim of an existing run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from auxar.commandline import Result, command
from auxar.errors import UserError, logger

if TYPE_CHECKING:
    from auxar.report.summary import MeasuredRun


def _shown(run: MeasuredRun) -> Result:
    from auxar.evaluation.stored import other_evaluations, read_evaluation
    from auxar.report import words
    from auxar.report.text import evaluation_lines

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
    samples: int | None = None,
    rule: str | Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    trust_plugins: bool = False,
) -> MeasuredRun:
    """Computes the bits/dim of a run and its factors.

    The trained factors are evaluated on held-out and training images. This writes evaluation.safetensors (the
    log-likelihood of every image, from which all figures follow) and the report. In integers, the same images are also
    evaluated with the integers that `auxar integers` made, which writes evaluation-integer.safetensors. For a model
    that comes trained, these files are written into the folder ./NAME, without a report. `auxar compare RUN` prints the
    figures of a stored evaluation.

    Several processes, on one or more machines with the same folder, share the images if all of them run this command
    with the same options. A command that was stopped continues, and nothing is computed if the evaluation is there.
    With settings, it replaces the evaluation of the recipe's own images, which `auxar run` makes again.

    Args:
        arithmetic: float, or integer: also evaluate in integers, and print the difference (default: the recipe's
            arithmetic)
        samples: number of exact samples whose bits/dim are computed, and of which those that fell apart are counted
            (default: the recipe's evaluation.samples)
        rule (--rule RULE): also compute the bits/dim of the distribution from which a rule draws, NAME or
            NAME:OPTION=VALUE,…, such as reduced:reduction=0.2 (default: the recipe's evaluation.rule)
        settings: set keys of [evaluation], data.path, data.config, data.options and data.workers, such as
            evaluation.batch_size=64 or evaluation.train_images=0

    Returns:
        The folder in which the evaluation is, with its held-out bits/dim.

    Raises:
        UserError: no factor is trained, or an argument is invalid

    Examples:
        >>> import auxar
        >>> run = auxar.evaluate("runs/quickstart", settings=["evaluation.heldout_images=4"])
        >>> run.evaluation.as_posix(), run.bits_per_dim > 0
        ('runs/quickstart/evaluation.safetensors', True)
    """
    from auxar.arguments import as_path
    from auxar.commands.results import check_of
    from auxar.data.loading import images_of
    from auxar.evaluation.likelihoods import evaluate_run
    from auxar.model import FLOAT
    from auxar.recipe.building import build_model, model_under
    from auxar.recipe.options import DATA_SETTINGS, check_settings, naming_options
    from auxar.report.summary import MeasuredRun
    from auxar.report.updating import update_report
    from auxar.runs.arithmetic import chosen_arithmetic, model_in
    from auxar.runs.opening import open_run, run_facts
    from auxar.runs.weights import check_sizes
    from auxar.work.accelerator import make_accelerator
    from auxar.work.processes import working_together

    with working_together() as processes:
        with processes.agreeing() as facts:
            check_settings(settings, "evaluation.", *DATA_SETTINGS)
            options = {"samples": samples, "rule": rule}
            chosen = {name: value for name, value in options.items() if value is not None}
            with naming_options(chosen, "evaluation"):
                opened, recipe = open_run(
                    as_path(run, "run"), settings, tables={"evaluation": chosen}, trust_plugins=trust_plugins
                )
            trained = opened.trained(recipe)
            if not trained:
                raise UserError(f"{opened.path}: no factor is trained yet; train the run with `auxar run RECIPE`")
            check_sizes(opened, recipe, trained)
            model = build_model(recipe)
            with naming_options(chosen, "evaluation"):
                model_under(model, recipe)
            name = chosen_arithmetic(recipe, arithmetic).name
            # With the recipe's arithmetic, a run that is not finished is evaluated in floating point only.
            wanted = name != FLOAT and (arithmetic is not None or len(trained) == len(recipe.factor_names))
            others = {name: model_in(opened, recipe, name)} if wanted else {}
            accelerator = make_accelerator(recipe.training.precision, opened.path)
            check_of(opened)(opened.output.path)
            facts |= {"command": "evaluate", **run_facts(opened, recipe)}
        with processes.agreeing() as facts:
            data = images_of(recipe)
            facts |= data.facts
        evaluate_run(opened, recipe, model, data, accelerator, others=others)
        if opened.model is None:
            update_report(opened, accelerator)
        else:
            for each in (FLOAT, *others):
                logger.info("evaluation: %s", opened.output.evaluation_in(each))
    return MeasuredRun(opened.output.path)
