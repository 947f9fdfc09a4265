"""Updates the report of a run in a group of processes."""

from __future__ import annotations

import logging

from accelerate import Accelerator

from auxar.data.sets import DataSets
from auxar.errors import UserError
from auxar.evaluation.likelihoods import evaluate_run
from auxar.files import entries
from auxar.locks import user_of
from auxar.model import FLOAT, Chain
from auxar.recipe import Recipe
from auxar.report import write_report
from auxar.runs.layout import RunFolder
from auxar.runs.lock import LOCK
from auxar.work.processes import Processes

logger = logging.getLogger("auxar")


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
