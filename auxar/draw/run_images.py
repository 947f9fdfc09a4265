"""The samples and figures of a run, which are drawn when all of its factors are trained."""

from __future__ import annotations

import logging

from accelerate import Accelerator

from auxar.data.sets import DataSets
from auxar.draw.conditions import usual_conditions
from auxar.draw.figures import Figures
from auxar.draw.plan import plan_of_recipe
from auxar.draw.samples import Samples, facts_of_model
from auxar.model import Chain
from auxar.recipe import Recipe
from auxar.runs.layout import RunFolder

logger = logging.getLogger("auxar")


def draw_run(run: RunFolder, recipe: Recipe, model: Chain, data: DataSets, accelerator: Accelerator) -> None:
    """Draws the samples and figures of a run with its trained `model`, and none if a factor is not trained.

    Samples and figures of an earlier call are kept if the recipe has `sampling.images` = 0.
    """
    missing = [name for name in recipe.factor_names if name not in run.trained(recipe)]
    if missing:
        logger.info("no samples are drawn yet, because these factors are not trained: %s", ", ".join(missing))
        return
    if not recipe.sampling.images:
        return
    model.eval().to(accelerator.device)
    progress = accelerator.is_main_process
    plan = plan_of_recipe(model, recipe, recipe.sampling.images, usual_conditions(model.condition, data.heldout))
    facts = {**facts_of_model(run, recipe, model), "held-out images": data.heldout.fingerprint}
    samples = Samples(model, plan, recipe.sampling, run.samples, facts, heldout=data.heldout, replace=True)
    samples.do("sampling" if progress else None)
    if rows := recipe.sampling.figure_rows:
        # The figure of nearest training images would read a whole stream, so only `auxar figures` draws it for streams.
        training = None if recipe.data.streaming else data.train
        Figures(run, recipe, model, data, training, rows).do("figures" if progress else None)
