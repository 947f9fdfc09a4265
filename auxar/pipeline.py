"""The main job: a recipe in; a trained, evaluated, sampled and illustrated model out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from pathlib import Path

import attrs
import torch
from accelerate import Accelerator

from auxar.data import DataSets, evaluation_batches, load_images
from auxar.distributed.group import Team, shares
from auxar.distributed.watchdog import watching
from auxar.errors import UserError, did_you_mean, is_unicode, one_line
from auxar.evaluation.likelihoods import evaluate_run
from auxar.evaluation.records import Evaluation
from auxar.files import DamagedFile, read_json
from auxar.generation.conditional import draw_given_to_folder
from auxar.generation.figures import Figures, draw_figures
from auxar.generation.inputs import GivenRequest, read_given
from auxar.generation.samples import check_samples, sample_to_folder
from auxar.interfaces import Prior, Sampler
from auxar.plugins import Registry
from auxar.recipe import Recipe, load_recipe
from auxar.recipe.building import build_model, build_sampler
from auxar.recipe.cost import factor_costs
from auxar.report import write_report
from auxar.runs.folder import RunFolder, begin_run, check_folder, check_sizes, open_run, trained_model
from auxar.runs.lock import holding
from auxar.runs.records import read_record
from auxar.training.loop import check_training, train_factor
from auxar.training.trackers import tracker_names

logger = logging.getLogger("auxar")


def run_recipe(
    path: Path,
    *,
    settings: Sequence[str] = (),
    out: Path | None = None,
    only: Sequence[str] = (),
    trust_plugins: bool = False,
) -> RunFolder:
    """Trains what is not trained yet, evaluates, samples and reports; continues a run that was stopped.

    `only` names the factors to train here. Evaluation covers all that are trained; samples are drawn once all are.
    Raises `UserError` before anything is written for whatever is wrong with the recipe or the folder, and if another
    process is at work in it.
    """
    recipe, registry = load_recipe(path, settings, trust_plugins=trust_plugins)
    recipe = _absolute_paths(recipe, registry)
    chosen = _chosen(recipe, only)
    build_model(recipe, registry, on="meta")
    folder = out or Path("runs") / path.stem
    accelerator = make_accelerator(recipe, folder, tracker_names(recipe.training.trackers))
    check_training(recipe, chosen, accelerator.num_processes)
    with watching(accelerator), _held(folder, accelerator, check_folder):
        with accelerator.main_process_first():
            run, recipe = begin_run(folder, recipe, registry, path.parent)
        finished = _finished(run, recipe)
        missing = [name for name in chosen if not run.weights(name).is_file()]
        # No process may write before all have seen what there is.
        accelerator.wait_for_everyone()
        if finished:
            logger.info("this run is finished: %s", run.report)
            return run
        data = load_images(recipe.data, recipe.image, registry.dataset_paths())
        for name in data.skipped:
            logger.warning("left out, cannot be read: %s", one_line(name))
        model = _train(recipe, registry, missing, data, run, accelerator)
        _conclude(recipe, registry, model, data, run, accelerator)
    accelerator.end_training()
    return run


def evaluate(path: Path, *, settings: Sequence[str] = (), trust_plugins: bool = False) -> RunFolder:
    """Evaluates the trained factors of a run again, with [evaluation] as the run has it or as set here."""
    _only(settings, "evaluation.", "data.path", "data.workers")
    run, recipe, registry = open_run(path, settings, trust_plugins=trust_plugins)
    if not run.trained(recipe):
        raise UserError(f"{run.path}: no factor is trained yet; `auxar run` with the recipe trains them")
    check_sizes(run, recipe, registry, run.trained(recipe))
    accelerator = make_accelerator(recipe, run.path)
    with watching(accelerator), _held(path, accelerator, check_folder):
        data = load_images(recipe.data, recipe.image, registry.dataset_paths())
        evaluate_run(run, recipe, build_model(recipe, registry), data, accelerator)
        _report(run, accelerator)
    return run


def sample(path: Path, *, settings: Sequence[str] = (), out: Path | None = None, trust_plugins: bool = False) -> Path:
    """Draws images from a run's model, with [sampling] as the run has it or as set here; returns their folder."""
    opened = _opened(path, settings, trust_plugins)
    config = opened.recipe.sampling
    folder = out or opened.run.samples / f"{config.rule}-seed{config.seed}"
    with watching(opened.accelerator), _held(folder, opened.accelerator, check_samples):
        sample_to_folder(opened.model, config, opened.sampler, folder, opened.accelerator)
    return folder


def sample_given(
    path: Path,
    request: GivenRequest,
    *,
    settings: Sequence[str] = (),
    out: Path | None = None,
    trust_plugins: bool = False,
) -> Path:
    """Draws from views of given images, or completes them from a part; returns the folder. `sampling.images` is the
    number of draws for each."""
    opened = _opened(path, settings, trust_plugins, "data.crop", "data.resize")
    config = opened.recipe.sampling
    if not config.images:
        raise UserError("-n 0: at least 1 draw for each given image is expected")
    given = read_given(request, opened.recipe, opened.model)
    kind = "completed" if request.keep is not None else f"given-depth{request.stage + 1}"
    folder = out or opened.run.samples / f"{kind}-{config.rule}-seed{config.seed}"
    with watching(opened.accelerator), _held(folder, opened.accelerator, check_samples):
        draw_given_to_folder(opened.model, given, config, opened.sampler, folder, opened.accelerator)
        agreement = read_json(folder / "samples.json")["view_agreement"]
    if agreement is not None:
        whose = "drawn" if given.view is None else "given"
        logger.info("the drawn images' own view is the %s one at %.2f %% of its pixels", whose, 100 * agreement)
    return folder


def figures(path: Path, *, rows: int, settings: Sequence[str] = (), trust_plugins: bool = False) -> Path:
    """Draws the paper's figures of a run's model, `rows` images in each; returns their folder."""
    if rows < 1:
        raise UserError(f"--rows {rows}: at least 1 is expected")
    opened = _opened(path, settings, trust_plugins)
    recipe, accelerator, folder = opened.recipe, opened.accelerator, opened.run.figures
    with watching(accelerator), _held(path, accelerator, check_folder):
        data = load_images(recipe.data, recipe.image, opened.registry.dataset_paths())
        _, images = next(iter(evaluation_batches(data.heldout, batch_size=rows, limit=rows, rank=0, processes=1)))
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


@contextlib.contextmanager
def _held(folder: Path, accelerator: Accelerator, check: Callable[[Path], None]) -> Iterator[None]:
    """The folder kept from others, by the first process for all of them, once `check` has nothing against it."""
    if not accelerator.is_main_process:
        yield
        return
    check(folder)
    with holding(folder):
        yield


def _opened(path: Path, settings: Sequence[str], trust_plugins: bool, *more: str) -> _Opened:
    """With keys of [sampling], and `more`, set anew."""
    _only(settings, "sampling.", *more)
    run, recipe, registry = open_run(path, settings, trust_plugins=trust_plugins)
    model = trained_model(run, recipe, registry)
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
    recipe: Recipe, registry: Registry, missing: Sequence[str], data: DataSets, run: RunFolder, accelerator: Accelerator
) -> Prior:
    if recipe.training.trackers:
        accelerator.init_trackers(run.path.name)
    apart = recipe.training.parallel == "factors" and accelerator.num_processes > 1
    team = Team(accelerator, alone=apart)
    mine = _share(recipe, registry, missing, data, accelerator) if apart else missing
    # Weights before training follow from the seed alone, whichever factors are trained here.
    torch.manual_seed(recipe.training.seed)
    model = build_model(recipe, registry)
    # The coarsest first: it is the quickest, and shows early whether the data are what they should be.
    for factor in reversed(model.factors):
        if factor.name in mine:
            config = recipe.training_of(factor.name)
            train_factor(model, factor, data.train, config, run, team, workers=recipe.data.workers)
            factor.to("cpu")
    # Others may have days to go, for which no process can be kept waiting in an exchange with them.
    while any(not run.weights(name).is_file() for name in missing):
        time.sleep(0.5)
    return model


def _share(
    recipe: Recipe, registry: Registry, missing: Sequence[str], data: DataSets, accelerator: Accelerator
) -> list[str]:
    """The factors that this process trains, where each process trains factors of its own."""
    images = len(data.train) if isinstance(data.train, Sized) else 0
    costs = {}
    for cost in factor_costs(recipe, registry):
        config = recipe.training_of(cost.factor)
        costs[cost.factor] = float(cost.multiply_adds * config.batch_size * config.total_steps(images))
    found = shares({name: costs[name] for name in missing}, accelerator.num_processes)
    for rank, names in enumerate(found):
        logger.info("process %d of %d trains %s", rank, len(found), ", ".join(names) or "nothing: it has no factor")
    return found[accelerator.process_index]


def _conclude(
    recipe: Recipe, registry: Registry, model: Prior, data: DataSets, run: RunFolder, accelerator: Accelerator
) -> None:
    table = evaluate_run(run, recipe, model, data, accelerator)
    if (bits := table["bits_per_dim"].get("heldout")) is not None:
        kind = "exact" if table["kind"] == "exact" else "a bound: the images' own are at most this"
        logger.info("%.4f bits/dim on %d held-out images (%s)", bits, table["images"]["heldout"], kind)
        if wasted := table["wasted_bits_per_dim"]["heldout"]:
            logger.info("%.4f of these are wasted by free decoders, on images of other views", wasted)
    missing = [name for name in recipe.factor_names if name not in run.trained(recipe)]
    if missing:
        logger.info("no samples yet, these factors are not trained: %s", ", ".join(missing))
    else:
        # `auxar sample` may have been asked to draw here as well.
        with _held(run.samples, accelerator, check_samples):
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
    try:
        evaluation = read_record(run.evaluation, Evaluation)
    except DamagedFile as error:
        logger.warning("%s; it is made again", error)
        return False
    whole = evaluation.bits_per_dim.get("heldout") is not None and all(
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
    full = str(Path(path).resolve())
    if not is_unicode(full):
        raise UserError(f"data.path: the path {full!r} is not valid UTF-8, as a recipe has to be; rename its folders")
    return attrs.evolve(recipe, data=attrs.evolve(recipe.data, path=full))
