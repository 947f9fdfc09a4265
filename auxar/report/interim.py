"""The evaluation and the report of a run after each trained factor, while other factors are still to be trained."""

from __future__ import annotations

import logging

import attrs
from accelerate import Accelerator

from auxar.data import DataSets
from auxar.evaluation.likelihoods import evaluate_run
from auxar.model import FLOAT, Chain
from auxar.recipe import Recipe
from auxar.report import write_report
from auxar.runs.layout import RunFolder

logger = logging.getLogger("auxar")


@attrs.frozen
class InterimReport:
    """Writes the report of a run whose factors are not all trained."""

    run: RunFolder
    recipe: Recipe
    data: DataSets
    accelerator: Accelerator

    def __call__(self, model: Chain) -> None:
        """Evaluates the trained factors, with their weights loaded into `model`, and updates the report.

        If processes train different factors, nothing is evaluated, because the others do not wait. The main process
        updates the report with the figures of training.
        """
        apart = self.recipe.training.parallel == "factors" and self.accelerator.num_processes > 1
        if not apart:
            found = evaluate_run(self.run, self.recipe, model, self.data, self.accelerator)[FLOAT]
            bits = {each.factor: found.bits_per_dim("heldout", each.factor) for each in found.factors}
            known = (f"{name} {mean.value:.4f}" for name, mean in bits.items() if mean.value is not None)
            logger.info("bits/dim so far: %s", ", ".join(known))
        if self.accelerator.is_main_process:
            write_report(self.run.path)
        if not apart:
            self.accelerator.wait_for_everyone()
