"""The command `figures`: draws the paper's figures with a run's model."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from auxar.arguments import as_integer
from auxar.commands.opening import open_trained
from auxar.commands.results import check_of
from auxar.data import load_images
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.generation.figures import figures_to_folder
from auxar.model.rule_effects import check_rule
from auxar.recipe.building import own_sampler
from auxar.recipe.schema import MOST_IMAGES
from auxar.report.updating import update_report
from auxar.runs.lock import holding_for_all


def figures(
    path: str | PathLike[str], *, rows: int = 6, settings: Sequence[str] = (), trust_plugins: bool = False
) -> Path:
    """Draws the paper's figures with a run's model, with `rows` rows each, and updates the report of the run.

    `path` is the run's folder, or the name of a model that comes trained, whose figures are written into the folder
    ./NAME/figures, without a report. `settings` are `key=value` strings that set keys of [sampling], `data.path`,
    `data.options` and `data.workers`, or name further plugin files with `plugins`. Returns the folder of the figures.
    Raises `UserError` if the rule changes nothing for any head of the model.

    Examples:
        >>> import auxar
        >>> auxar.figures("runs/quickstart", rows=1).as_posix()
        'runs/quickstart/figures'
    """
    with working_together() as processes:
        with processes.agreeing() as facts:
            rows = as_integer(rows, "rows")
            if not 1 <= rows <= MOST_IMAGES:
                raise UserError(f"--rows {rows}: expected a number from 1 to {MOST_IMAGES}")
            allowed = ("data.path", "data.options", "data.workers", "plugins")
            run = open_trained(path, settings, *allowed, trust_plugins=trust_plugins)
            recipe, output = run.recipe, run.folder.output
            folder = output.figures
            check_rule(run.model, recipe.sampling.draw_rule(), run.model.arithmetic, key="sampling.rule")
            facts |= {"command": "figures", "--rows": rows, **run.facts}
        with holding_for_all(output.path, processes, check_of(run.folder)):
            with processes.agreeing() as facts:
                data = load_images(recipe.data, recipe.image, run.registry, recipe.condition)
                facts |= data.facts
            sampler = own_sampler(run.model)
            figures_to_folder(run.model, sampler, recipe, rows, data.heldout, data.train, folder, run.accelerator)
            if run.folder.model is None:
                update_report(run.folder, run.accelerator)
    return folder
