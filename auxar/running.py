"""The main job: a recipe in; a trained, evaluated, sampled and illustrated model out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import attrs
import torch
from accelerate import Accelerator

from auxar.conditional import draw_given_to_folder
from auxar.data import DataSets, evaluation_batches, load_images
from auxar.errors import UserError, did_you_mean
from auxar.evaluation import evaluate_run
from auxar.figures import Figures, draw_figures
from auxar.files import read_json
from auxar.given import GivenRequest, read_given
from auxar.interfaces import Prior, Sampler
from auxar.model import factors
from auxar.plugins import Registry
from auxar.recipe import Recipe, load_recipe
from auxar.recipe.building import build_model, build_sampler, build_views
from auxar.report import write_report
from auxar.runs import RunFolder, begin_run, load_weights, open_run
from auxar.sampling import sample_to_folder
from auxar.trackers import tracker_names
from auxar.training import check_training, train_factor

logger = logging.getLogger("auxar")


def run_recipe(
    path: Path, *, settings: Sequence[str] = (), out: Path | None = None, only: Sequence[str] = ()
) -> RunFolder:
    """Trains what is not trained yet, evaluates, samples and reports; continues a run that was stopped.

    `only` names the factors to train here. Evaluation covers all that are trained; samples are drawn once all are.
    Raises `UserError` before anything is written for whatever is wrong with the recipe or the folder.
    """
    recipe, registry = load_recipe(path, settings)
    recipe = _absolute_paths(recipe, registry)
    chosen = _chosen(recipe, only)
    build_model(recipe, registry, on="meta")
    folder = out or Path("runs") / path.stem
    accelerator = make_accelerator(recipe, folder, tracker_names(recipe.training.trackers))
    check_training(recipe, chosen, accelerator.num_processes)
    with accelerator.main_process_first():
        run, recipe = begin_run(folder, recipe, path.parent)
    finished = _finished(run, recipe)
    # No process may write before all have seen what there is.
    accelerator.wait_for_everyone()
    if finished:
        logger.info("this run is finished: %s", run.report)
        return run
    data = load_images(recipe.data, recipe.image, registry.dataset_paths())
    for name in data.skipped:
        logger.warning("left out, cannot be read: %s", name)
    model = _train(recipe, registry, chosen, data, run, accelerator)
    _conclude(recipe, registry, model, data, run, accelerator)
    accelerator.end_training()
    return run


def evaluate(path: Path, *, settings: Sequence[str] = ()) -> RunFolder:
    """Evaluates the trained factors of a run again, with [evaluation] as the run has it or as set here."""
    _only(settings, "evaluation.", "data.path", "data.workers")
    run, recipe, registry = open_run(path, settings)
    if not run.trained(recipe):
        raise UserError(f"{run.path}: no factor is trained yet; `auxar run` with the recipe trains them")
    accelerator = make_accelerator(recipe, run.path)
    data = load_images(recipe.data, recipe.image, registry.dataset_paths())
    evaluate_run(run, recipe, build_model(recipe, registry), data, accelerator)
    _report(run, accelerator)
    return run


def sample(path: Path, *, settings: Sequence[str] = (), out: Path | None = None) -> Path:
    """Draws images from a run's model, with [sampling] as the run has it or as set here; returns their folder."""
    opened = _opened(path, settings)
    config = opened.recipe.sampling
    folder = out or opened.run.samples / f"{config.rule}-seed{config.seed}"
    sample_to_folder(opened.model, config, opened.sampler, folder, opened.accelerator)
    return folder


def sample_given(path: Path, request: GivenRequest, *, settings: Sequence[str] = (), out: Path | None = None) -> Path:
    """Draws from views of given images, or completes them from a part; returns the folder. `sampling.images` is the
    number of draws for each."""
    opened = _opened(path, settings, "data.crop", "data.resize")
    config = opened.recipe.sampling
    if not config.images:
        raise UserError("-n 0: at least 1 draw for each given image is expected")
    given = read_given(request, opened.recipe, opened.model)
    kind = "completed" if request.keep is not None else f"given-level{request.stage + 1}"
    folder = out or opened.run.samples / f"{kind}-{config.rule}-seed{config.seed}"
    draw_given_to_folder(opened.model, given, config, opened.sampler, folder, opened.accelerator)
    agreement = read_json(folder / "samples.json")["view_agreement"]
    if agreement is not None:
        logger.info("%.2f %% of the view's pixels are those of the drawn images' own view", 100 * agreement)
    return folder


def figures(path: Path, *, rows: int, settings: Sequence[str] = ()) -> Path:
    """Draws the paper's figures of a run's model, `rows` images in each; returns their folder."""
    if rows < 1:
        raise UserError(f"--rows {rows}: at least 1 is expected")
    opened = _opened(path, settings)
    recipe, accelerator = opened.recipe, opened.accelerator
    data = load_images(recipe.data, recipe.image, opened.registry.dataset_paths())
    _, images = next(iter(evaluation_batches(data.heldout, batch_size=rows, limit=rows, rank=0, processes=1)))
    folder = opened.run.path / "figures"
    if accelerator.is_main_process:
        drawn = (opened.model, opened.sampler, recipe.sampling, rows, images.to(torch.int64))
        draw_figures(Figures(*drawn, data.train, recipe.training.flip), folder)
    _report(opened.run, accelerator)
    return folder


@attrs.frozen
class _Opened:
    """A finished run's model on its device, and what draws from it."""

    run: RunFolder
    recipe: Recipe
    registry: Registry
    model: Prior
    sampler: Sampler
    accelerator: Accelerator


def _opened(path: Path, settings: Sequence[str], *more: str) -> _Opened:
    """With keys of [sampling], and `more`, set anew."""
    _only(settings, "sampling.", *more)
    run, recipe, registry = open_run(path, settings)
    model = build_model(recipe, registry)
    for factor in factors(model):
        load_weights(run, factor)
    accelerator = make_accelerator(recipe, run.path)
    model.eval().to(accelerator.device)
    return _Opened(run, recipe, registry, model, build_sampler(recipe, registry), accelerator)


def make_accelerator(recipe: Recipe, folder: Path, trackers: Sequence[str] = ()) -> Accelerator:
    """What moves work to devices and processes; precision and trackers as the recipe has them."""
    accelerator = Accelerator(
        mixed_precision="bf16" if recipe.training.precision == "bf16" else "no",
        log_with=list(trackers) or None,
        project_dir=folder,
        # Apple's GPUs have no float64, which draws and sums of likelihoods are computed in.
        cpu=torch.backends.mps.is_available(),
    )
    if not accelerator.is_main_process:
        logger.setLevel(logging.WARNING)  # One process says what all of them do.
    return accelerator


def _train(
    recipe: Recipe, registry: Registry, chosen: Sequence[str], data: DataSets, run: RunFolder, accelerator: Accelerator
) -> Prior:
    if recipe.training.trackers:
        accelerator.init_trackers(run.path.name)
    # Weights before training follow from the seed alone, whichever factors are trained here.
    torch.manual_seed(recipe.training.seed)
    model = build_model(recipe, registry)
    views = build_views(recipe, registry)
    # The coarsest first: it is the quickest, and shows early whether the data are what they should be.
    for factor in reversed(factors(model)):
        if factor.name in chosen and not run.weights(factor.name).is_file():
            config = recipe.training_of(factor.name)
            train_factor(factor, views, data.train, config, run, accelerator, workers=recipe.data.workers)
            factor.to("cpu")
    return model


def _conclude(
    recipe: Recipe, registry: Registry, model: Prior, data: DataSets, run: RunFolder, accelerator: Accelerator
) -> None:
    table = evaluate_run(run, recipe, model, data, accelerator)
    if (bits := table["bits_per_dim"].get("heldout")) is not None:
        logger.info("%.4f bits/dim on %d held-out images", bits, table["images"]["heldout"])
    missing = [name for name in recipe.factor_names if name not in run.trained(recipe)]
    if missing:
        logger.info("no samples yet, these factors are not trained: %s", ", ".join(missing))
    else:
        sample_to_folder(model, recipe.sampling, build_sampler(recipe, registry), run.samples, accelerator)
    _report(run, accelerator)


def _report(run: RunFolder, accelerator: Accelerator) -> None:
    if accelerator.is_main_process:
        write_report(run.path)
        logger.info("report: %s", run.report)
    accelerator.wait_for_everyone()


def _finished(run: RunFolder, recipe: Recipe) -> bool:
    """Whether all is there: every factor, an evaluation of all of them, samples if any are asked for, the report."""
    if len(run.trained(recipe)) < len(recipe.factor_names) or not run.report.is_file() or not run.evaluation.is_file():
        return False
    # The evaluation may be of a part of the factors, made before the others were put beside them.
    whole = read_json(run.evaluation)["bits_per_dim"]["heldout"] is not None and all(
        run.weights(name).stat().st_mtime <= run.evaluation.stat().st_mtime for name in recipe.factor_names
    )
    return whole and (not recipe.sampling.images or (run.samples / "samples.json").is_file())


def _only(settings: Sequence[str], *prefixes: str) -> None:
    """Other keys are part of what was trained: changing them here would give figures of something else."""
    for setting in settings:
        if not setting.strip().startswith(prefixes):
            raise UserError(f"--set {setting}: only keys {', '.join(p + '…' * p.endswith('.') for p in prefixes)}")


def _chosen(recipe: Recipe, only: Sequence[str]) -> Sequence[str]:
    for name in only:
        if name not in recipe.factor_names:
            raise UserError(f"--factors: no factor is named '{name}'{did_you_mean(name, recipe.factor_names)}")
    return only or recipe.factor_names


def _absolute_paths(recipe: Recipe, registry: Registry) -> Recipe:
    """Local images are kept by their full path, so that the run can be continued from any folder."""
    path = recipe.data.path
    if path in registry.names("dataset") or not Path(path).exists():
        return recipe
    return attrs.evolve(recipe, data=attrs.evolve(recipe.data, path=str(Path(path).resolve())))
