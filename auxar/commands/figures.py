"""Drawing the paper's figures of a run's model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from auxar.commands.opening import open_trained
from auxar.data import evaluation_batches, load_images
from auxar.distributed.watchdog import watching
from auxar.errors import UserError
from auxar.generation.figures import Figures, draw_figures
from auxar.recipe.building import own_sampler
from auxar.report.updating import update_report
from auxar.runs.layout import check_folder
from auxar.runs.lock import holding_for_all


def figures(path: str | Path, *, rows: int = 6, settings: Sequence[str] = (), trust_plugins: bool = False) -> Path:
    """Draws the paper's figures of a run's model, `rows` images in each, and writes its report; returns their folder.

    `settings` are `key=value` texts that replace keys of [sampling].
    """
    if rows < 1:
        raise UserError(f"--rows {rows}: at least 1 is expected")
    run = open_trained(path, settings, trust_plugins=trust_plugins)
    recipe, accelerator, folder = run.recipe, run.accelerator, run.folder.figures
    with watching(accelerator), holding_for_all(run.folder.path, accelerator, check_folder):
        data = load_images(recipe.data, recipe.image, run.registry.dataset_paths())
        _, images = next(iter(evaluation_batches(data.heldout, batch_size=rows, limit=rows, rank=0, processes=1)))
        if accelerator.is_main_process:
            drawn = (run.model, own_sampler(run.model), recipe.sampling, rows, images.to(torch.int64))
            draw_figures(Figures(*drawn, data.train, recipe.training.flip), folder)
        update_report(run.folder, accelerator)
    return folder
