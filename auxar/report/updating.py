"""Updates the report of a run in a group of processes, and tells whether a run is finished."""

from collections.abc import Mapping

from accelerate import Accelerator

from auxar.data.sets import DataSets
from auxar.draw.samples import are_whole
from auxar.draw.sheets import is_whole
from auxar.errors import UserError, logger
from auxar.evaluation.likelihoods import evaluate_run
from auxar.evaluation.stored import is_evaluated
from auxar.files import entries, is_file
from auxar.locks import user_of
from auxar.model import FLOAT, Chain
from auxar.recipe import Recipe
from auxar.report import write_report
from auxar.report.html import check_document
from auxar.report.page import PAGE
from auxar.report.reading import FigureEntry
from auxar.runs.layout import RunFolder
from auxar.runs.lock import LOCK
from auxar.runs.records import read_record
from auxar.runs.weights import check_whole
from auxar.training.lengths import is_trained
from auxar.work.processes import Processes


def update_report(run: RunFolder, accelerator: Accelerator) -> None:
    """Rewrites the run's report in the main process. All processes wait until it is written."""
    if accelerator.is_main_process:
        write_report(run.path)
        logger.info("report: %s", run.report)
    accelerator.wait_for_everyone()


def show_progress(run: RunFolder) -> None:
    """Writes the report of a run in training. A report that cannot be written is only warned of."""
    try:
        write_report(run.path)
    except UserError as error:
        logger.warning("the report is not written: %s", error)


def evaluate_so_far(
    run: RunFolder, recipe: Recipe, data: DataSets, accelerator: Accelerator, processes: Processes, model: Chain
) -> None:
    """Evaluates a run whose factors are not all trained, and updates its report.

    The weights of the trained factors are loaded into `model`. Nothing is evaluated while another process trains a
    factor: its evaluation will have more factors.
    """
    if not processes.from_main(any(map(user_of, entries(run.path, f"factors/*/{LOCK}")))):
        found = evaluate_run(run, recipe, model, data, accelerator)[FLOAT]
        bits = {each.factor: found.bits_per_dim("heldout", each.factor) for each in found.factors}
        known = (f"{name} {mean.value:.4f}" for name, mean in bits.items() if mean.value is not None)
        logger.info("bits/dim so far: %s", ", ".join(known))
    if accelerator.is_main_process:
        write_report(run.path)
    accelerator.wait_for_everyone()


def is_finished(run: RunFolder, recipe: Recipe, steps: Mapping[str, int]) -> bool:
    """Whether all factors are trained and evaluated, and the samples, figures and report of the recipe exist.

    The report is written last, so it is not older than the recipe and the evaluation if they have not changed since.
    `steps` are the numbers of steps of the factors. Raises `DamagedFile` if the weights of such a run are damaged,
    and `UserError` if another file has the name of the report.
    """
    are_trained = all(is_trained(run, name, count) for name, count in steps.items())
    if not are_trained or not is_evaluated(run, recipe) or not is_file(run.report):
        return False
    check_document(run.report, PAGE)
    if run.report.stat().st_mtime < max(run.recipe.stat().st_mtime, run.evaluation.stat().st_mtime):
        return False
    for name in steps:
        check_whole(run.weights(name))
    if not recipe.sampling.images:
        return True
    pictures = (run.samples / "images" / f"{number:06d}.png" for number in range(recipe.sampling.images))
    if not is_file(run.samples / "samples.json") or not are_whole(run.samples, pictures):
        return False
    return not recipe.sampling.figure_rows or has_figures(run)


def has_figures(run: RunFolder) -> bool:
    """Whether the figures of a run are drawn: their record, which is written last, and all pictures that it names."""
    try:
        figures = read_record(run.figures / "figures.json", list[FigureEntry])
    except UserError:
        return False
    return all(is_whole(run.figures / entry.file) for entry in figures)
