"""The work of `auxar run`: loads a recipe, trains its model, evaluates it, draws images, and writes the report."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from accelerate import Accelerator

from auxar.data.level_use import unused_levels
from auxar.data.sets import DataSets
from auxar.draw.conditions import usual_conditions
from auxar.draw.figures import draw_run
from auxar.draw.plan import plan_of_recipe
from auxar.draw.previews import IMAGES, Previews
from auxar.draw.samples import check_samples
from auxar.errors import logger, naming, one_line
from auxar.evaluation.likelihoods import evaluate_run
from auxar.model import FLOAT, Chain
from auxar.recipe import Recipe
from auxar.recipe.building import checked_model
from auxar.recipe.facts import recipe_facts
from auxar.report.updating import evaluate_so_far, is_finished, show_progress, update_report
from auxar.runs.layout import RunFolder, check_folder
from auxar.runs.weights import read_trained
from auxar.training.beginning import Task, begin
from auxar.training.conversion import converted_models
from auxar.training.factors import FactorTraining, chosen_factors
from auxar.training.lengths import check_training, is_trained
from auxar.training.speed import stored_steps
from auxar.training.trackers import check_trackers, track_results
from auxar.work.accelerator import make_accelerator
from auxar.work.processes import Processes, working_together


def run_pipeline(
    load: Callable[[], Recipe], run: RunFolder, only: Sequence[str], *, train_only: bool, wait: bool
) -> bool:
    """Trains the model of the recipe that `load` returns, and finishes its run, as `auxar.run` describes.

    Returns False if this process does not wait for others that train factors, as `wait` says.
    """
    with working_together() as processes:
        with processes.agreeing() as facts:
            recipe = load()
            recipe = recipe.with_steps(stored_steps(run, recipe))
            names = chosen_factors(recipe, only)
            task = Task(run, recipe, checked_model(recipe), names)
            check_trackers(recipe.training.trackers)
            accelerator = make_accelerator(recipe.training.precision, run.path)
            check_training(recipe, names, processes.count)
            facts |= {"command": "run", "--out": os.path.abspath(run.path), "--factors": sorted(names)}
            facts |= {"--train-only": train_only, **recipe_facts(recipe)}

        def check(folder: Path) -> None:
            check_folder(folder)
            if recipe.sampling.images and not train_only:
                check_samples(RunFolder(folder).samples)

        recipe, steps = begin(task, accelerator, processes, check)
        # No process may write before all processes have found which files exist, or they would disagree.
        with processes.agreeing() as facts:
            finished = facts["whether the run is finished"] = is_finished(run, recipe, steps)
            missing = [name for name in names if not is_trained(run, name, steps[name])]
            if own := [name for name in names if (trained := read_trained(run, name)) is not None and trained.own]:
                logger.info("these factors keep the weights of your own training loop: %s", ", ".join(own))
        if finished:
            logger.info("this run is finished: %s", run.report)
            return True

        data = _data(task, recipe, processes, is_training=bool(missing))
        conditions = usual_conditions(task.network.condition, data.heldout)
        preview = Previews(run, plan_of_recipe(task.network, recipe, IMAGES, conditions))
        report = None if train_only else functools.partial(evaluate_so_far, run, recipe, data, accelerator, processes)
        show = None if train_only else functools.partial(show_progress, run)
        training = FactorTraining(recipe, run, data, steps, accelerator, processes, preview, report, show)
        model = training.train(names, wait=wait)
        if model is not None and not train_only:
            _finish(attrs.evolve(task, recipe=recipe), model, data, accelerator, processes)
        for tracker in accelerator.trackers:
            tracker.finish()
    return model is not None


def _data(task: Task, recipe: Recipe, processes: Processes, *, is_training: bool) -> DataSets:
    """The images of a run. Warnings name levels that no image has, and images that are left out."""
    with processes.agreeing() as facts:
        data = task.data
        facts |= data.facts
        sets = [("", data, recipe.data)]
        sets += [(recipe.training_key(name), own, recipe.data_of(name)) for name, own in data.own.items()]
        for place, each, config in sets if is_training and processes.is_main else ():
            with naming(place):
                if unused := unused_levels(each.train, config.values):
                    logger.warning("%s", f"{place}: {unused}".removeprefix(": "))
    for name in (name for _, each, _ in sets for name in each.skipped):
        logger.warning("this image cannot be read and is left out: %s", one_line(name))
    return data


def _finish(task: Task, model: Chain, data: DataSets, accelerator: Accelerator, processes: Processes) -> None:
    """Evaluates the trained model of a run, draws its images, and writes its report."""
    run, recipe = task.run, task.recipe
    others = converted_models(run, recipe, lambda: data, processes)
    evaluation = evaluate_run(run, recipe, model, data, accelerator, others=others)[FLOAT]
    draw_run(run, recipe, others.get(recipe.arithmetic.name, model), data, accelerator)
    update_report(run, accelerator)
    names = None, *(each.factor for each in evaluation.factors)
    found = {name: evaluation.bits_per_dim("heldout", name).value for name in names}
    bits = {f"heldout/{name or 'total'}": value for name, value in found.items() if value is not None}
    pictures = {name: run.samples / f"{name}.png" for name in ("samples", "growth")}
    track_results(accelerator, bits, pictures, max(each.steps or 0 for each in evaluation.factors))
