"""The evaluation and the report of a run after each trained factor, while other factors are still to be trained."""

from __future__ import annotations

import logging

import attrs
from accelerate import Accelerator

from auxar.data.sets import DataSets
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


@attrs.frozen
class InterimReport:
    """Writes the report of a run whose factors are not all trained."""

    run: RunFolder
    recipe: Recipe
    data: DataSets
    accelerator: Accelerator
    processes: Processes

    def __call__(self, model: Chain) -> None:
        """Evaluates the trained factors, with their weights loaded into `model`, and updates the report.

        Nothing is evaluated while another process trains a factor: its evaluation will have more factors.
        """
        if not self.processes.from_main(any(map(user_of, entries(self.run.path, f"factors/*/{LOCK}")))):
            found = evaluate_run(self.run, self.recipe, model, self.data, self.accelerator)[FLOAT]
            bits = {each.factor: found.bits_per_dim("heldout", each.factor) for each in found.factors}
            known = (f"{name} {mean.value:.4f}" for name, mean in bits.items() if mean.value is not None)
            logger.info("bits/dim so far: %s", ", ".join(known))
        if self.accelerator.is_main_process:
            write_report(self.run.path)
        self.accelerator.wait_for_everyone()
