"""The work of `auxar run`: trains a recipe's model, evaluates it, draws samples and figures, and writes a report."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path

from accelerate import Accelerator

from auxar.arguments import as_path, check_flag
from auxar.data import DataSets, load_images
from auxar.data.level_use import unused_levels
from auxar.distributed.accelerator import make_accelerator
from auxar.distributed.joining import working_together
from auxar.distributed.processes import Processes
from auxar.errors import one_line
from auxar.evaluation.likelihoods import evaluate_run
from auxar.evaluation.records import Evaluation
from auxar.evaluation.stored import is_evaluated
from auxar.files import entries, is_file, read_bytes
from auxar.generation.conditions import Conditions, usual_conditions
from auxar.generation.figures import are_drawn, figures_to_folder
from auxar.generation.previews import Previews
from auxar.generation.sample_folder import check_samples
from auxar.generation.samples import sample_to_folder
from auxar.model import FLOAT, Chain
from auxar.model.rule_effects import check_rule
from auxar.plugins import Registry
from auxar.recipe import Recipe, load_recipe, recipe_text
from auxar.recipe.building import build_model, own_sampler
from auxar.recipe.facts import recipe_facts
from auxar.recipe.shipped import run_name
from auxar.report import words
from auxar.report.interim import InterimReport
from auxar.report.updating import update_report
from auxar.runs.arithmetic import model_in
from auxar.runs.layout import RunFolder, check_folder
from auxar.runs.lock import holding_for_all
from auxar.runs.opening import begin_run, check_recipe, recipe_of_run
from auxar.runs.weights import has_own_weights
from auxar.training.conversion import check_options, convert_run
from auxar.training.factors import chosen_factors, train_factors
from auxar.training.initialization import check_init
from auxar.training.lengths import check_lengths, is_trained, total_steps
from auxar.training.loop import check_training
from auxar.training.trackers import check_trackers

logger = logging.getLogger("auxar")

LOCK_PATIENCE = 300.0
"""Maximum time, in seconds, that a call with `train_only` waits while others that train factors of the run begin."""


def run(
    path: str | PathLike[str],
    *,
    settings: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    only: Sequence[str] = (),
    train_only: bool = False,
    trust_plugins: bool = False,
) -> RunFolder:
    """Trains a recipe's model, evaluates it, draws samples and figures, and writes the report of the run.

    A stopped run continues from its last checkpoints, and so does a finished run if the recipe now sets more steps.
    `path` is a TOML file, or the name of a recipe that comes with auxar, such as "quickstart". `settings` are
    `key=value` strings that override keys of the recipe. `out` is the run's folder; the default is runs/<name>, with
    the name of the recipe, or that of its file without `.toml`. `only` names the factors to train; the default is all
    factors. Every trained factor is evaluated. Samples and figures are drawn only if all factors are trained.

    With `train_only`, the factors are trained, and nothing else is done. Several calls may then train different factors
    of the same run at the same time. A later call without `train_only` evaluates them and finishes the run.

    Raises `UserError` if the recipe, the folder or the images are invalid, or if another process uses the folder. The
    recipe and its components are checked before anything is written. So are the images of a new run, except for single
    images of a stream. With several processes, it is also raised in all of them if one fails before training, or if
    their recipes, arguments or images differ.

    Examples:
        >>> import auxar
        >>> settings = ["training.steps=1", "training.initialization_images=8", "evaluation.train_images=0"]
        >>> run = auxar.run("quickstart", settings=settings, only=["prior"], out="runs/one-step")
        >>> run.report.as_posix()
        'runs/one-step/report.html'
    """
    path = as_path(path, "path")
    check_flag(train_only, "train_only")
    folder = Path("runs", run_name(path)) if out is None else as_path(out, "out")

    def check(path: Path) -> None:
        check_folder(path)
        if recipe.sampling.images and not train_only:
            check_samples(RunFolder(path).samples)

    @functools.cache
    def data() -> DataSets:
        return load_images(recipe.data, recipe.image, registry, recipe.condition)

    with working_together() as processes, contextlib.ExitStack() as factor_locks, contextlib.ExitStack() as folder_lock:
        with processes.agreeing() as facts:
            recipe, registry = load_recipe(path, settings, trust_plugins=trust_plugins)
            names = chosen_factors(recipe, only)
            network = build_model(recipe, registry, on="meta")
            check_rule(network, recipe.sampling.draw_rule(), recipe.arithmetic.name, key="sampling.rule")
            check_trackers(recipe.training.trackers)
            accelerator = make_accelerator(recipe.training.precision, folder)
            check_training(recipe, names, processes.count)
            facts |= {"command": "run", "--out": os.path.abspath(folder), "--factors": sorted(names)}
            facts |= {"--train-only": train_only, **recipe_facts(recipe, registry)}

        with processes.agreeing() as facts:
            if processes.is_main:
                check(folder)
            found = RunFolder(folder)
            is_new = facts["whether the run is new"] = not is_file(found.recipe)
            facts |= check_init(found, recipe, network, names)
            # A new run's images are loaded before its folder is made, so that a mistake in [data] leaves no folder.
            # With `train_only`, they are loaded before the folder is locked, because others wait for this lock.
            if is_new or train_only:
                facts |= data().facts

        folder_lock.enter_context(
            holding_for_all(folder, processes, check, patience=LOCK_PATIENCE if train_only else 0.0)
        )
        with processes.agreeing():
            check_recipe(found, recipe, registry)
            if recipe.arithmetic.name != FLOAT:
                check_options(found, recipe.factor_names, recipe.arithmetic)
            totals = total_steps(found, recipe, lambda: data().train)
            check_lengths(found, recipe, network, names, totals)
        if not is_new:
            factor_locks.enter_context(_holding_factors(found, names, processes))
        with _holding_others_if_replaced(found, recipe, () if is_new else names, processes), processes.agreeing():
            if processes.is_main:
                begin_run(folder, recipe, registry, () if is_new else names)
        recipe = recipe_of_run(recipe)
        if is_new:
            factor_locks.enter_context(_holding_factors(found, names, processes))
        # No process may write before all processes have found which files exist, or they would disagree.
        with processes.agreeing() as facts:
            finished = facts["whether the run is finished"] = is_finished(found, recipe, network, totals)
            missing = [name for name in names if not is_trained(found, name, totals[name])]
            facts["the factors that are not trained yet"] = missing
        if own := [name for name in names if has_own_weights(found, name)]:
            logger.info("these factors keep the weights of your own training loop: %s", ", ".join(own))
        if finished:
            logger.info("this run is finished: %s", found.report)
            return found

        with processes.agreeing() as facts:
            images = data()
            facts |= images.facts
            if missing and processes.is_main and (unused := unused_levels(images.train, recipe.data.values)):
                logger.warning("%s", unused)
        for name in images.skipped:
            logger.warning("this image cannot be read and is left out: %s", one_line(name))
        conditions = usual_conditions(network.condition, images.heldout)
        preview = Previews(found, recipe.sampling, conditions)
        if train_only:
            folder_lock.close()
            train_factors(recipe, registry, missing, images, found, accelerator, preview)
        else:
            report = InterimReport(found, recipe, images, accelerator)
            model = train_factors(recipe, registry, missing, images, found, accelerator, preview, report)
            others = _converted(found, recipe, registry, data, processes)
            for evaluation in evaluate_run(found, recipe, model, images, accelerator, others=others).values():
                _log_result(evaluation)
            drawn = others.get(recipe.arithmetic.name, model).eval().to(accelerator.device)
            _sample(found, recipe, drawn, images, conditions, accelerator, processes)
            update_report(found, accelerator)
        for tracker in accelerator.trackers:
            tracker.finish()
    return found


@contextlib.contextmanager
def _holding_others_if_replaced(
    run: RunFolder, recipe: Recipe, held: Sequence[str], processes: Processes
) -> Iterator[None]:
    """Holds the locks of all factors, except for those in `held`, if the run's stored recipe is replaced.

    The settings of a run may change, and before its first checkpoint all of its recipe, but not while another call
    trains one of its factors.
    """
    with processes.agreeing() as facts:
        text = recipe_text(recipe_of_run(recipe)).encode()
        is_replaced = is_file(run.recipe) and read_bytes(run.recipe) != text
        names = [path.name for path in entries(run.path, "factors/*")] if is_replaced else []
        facts["the factors in the folder"] = names
    with _holding_factors(run, [name for name in names if name not in held], processes):
        yield


@contextlib.contextmanager
def _holding_factors(run: RunFolder, names: Sequence[str], processes: Processes) -> Iterator[None]:
    """Holds the locks of the folders of factors, which `train_only` lets several calls train at the same time."""
    with contextlib.ExitStack() as held:
        for name in sorted(names):
            # `check_folder` has checked the whole run.
            held.enter_context(holding_for_all(run.factor(name), processes, lambda _: None))
        yield


def is_finished(run: RunFolder, recipe: Recipe, model: Chain, totals: Mapping[str, int]) -> bool:
    """Whether all factors are trained and evaluated, and the samples, figures and report of the recipe exist.

    The report is written last, so it is not older than the recipe and the evaluation if they have not changed since.
    `totals` are the numbers of steps of the factors. The weights of `model` are not read.
    """
    if not all(is_trained(run, name, total) for name, total in totals.items()):
        return False
    if not is_evaluated(run, recipe) or not is_file(run.report):
        return False
    if run.report.stat().st_mtime < max(run.recipe.stat().st_mtime, run.evaluation.stat().st_mtime):
        return False
    if recipe.sampling.images and not is_file(run.samples / "samples.json"):
        return False
    return not _figure_rows(recipe) or are_drawn(run.figures, recipe, model)


def _figure_rows(recipe: Recipe) -> int:
    """The number of rows of each figure; 0, for no figures, if the recipe has `sampling.images` = 0."""
    return recipe.sampling.figure_rows if recipe.sampling.images else 0


def _converted(
    run: RunFolder, recipe: Recipe, registry: Registry, data: Callable[[], DataSets], processes: Processes
) -> dict[str, Chain]:
    """The model in the recipe's arithmetic, by its name, if this is not floating point and all factors are trained.

    Factors that are not converted yet are converted.
    """
    choice = recipe.arithmetic
    if choice.name == FLOAT or len(run.trained(recipe)) < len(recipe.factor_names):
        return {}
    with processes.agreeing():
        if processes.is_main:
            convert_run(run, recipe, registry, choice, data)
    with processes.agreeing():
        return {choice.name: model_in(run, recipe, registry, choice.name)}


def _log_result(evaluation: Evaluation) -> None:
    if evaluation.arithmetic != FLOAT:
        logger.info("%s", words.cost_of(evaluation))
    elif (bits := evaluation.bits_per_dim.get("heldout")) is not None:
        kind = words.KINDS[evaluation.kind]
        logger.info("%.4f bits/dim on %d held-out images (%s)", bits, evaluation.images["heldout"], kind)
        if wasted := evaluation.wasted_bits_per_dim["heldout"]:
            logger.info("of this bound, %s, because free decoders do not exclude such images", words.wasted(wasted))


def _sample(
    run: RunFolder,
    recipe: Recipe,
    model: Chain,
    data: DataSets,
    conditions: Conditions,
    accelerator: Accelerator,
    processes: Processes,
) -> None:
    missing = [name for name in recipe.factor_names if name not in run.trained(recipe)]
    if missing:
        logger.info("no samples are drawn yet, because these factors are not trained: %s", ", ".join(missing))
        return
    if not recipe.sampling.images:
        return  # Samples of an earlier call are kept.
    # `auxar sample --out` may be writing into the same folder, so it has a lock of its own.
    with holding_for_all(run.samples, processes, check_samples):
        sampler = own_sampler(model)
        sample_to_folder(model, recipe.sampling, sampler, run.samples, accelerator, data.heldout, conditions)
    if rows := _figure_rows(recipe):
        # The figure of nearest training images would read a whole stream, so only `auxar figures` draws it for streams.
        training = None if recipe.data.streaming else data.train
        figures_to_folder(model, own_sampler(model), recipe, rows, data.heldout, training, run.figures, accelerator)
