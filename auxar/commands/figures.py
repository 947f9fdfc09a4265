"""The command `figures`: draws the paper's figures with a run's model."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from auxar.commandline import Result, command


def _shown(folder: Path) -> Result:
    from auxar.files import read_json

    return Result([str(folder)], {"folder": str(folder), "figures": read_json(folder / "figures.json")})


@command("Draw", show=_shown)
def figures(
    run: str | PathLike[str], *, rows: int = 6, settings: Sequence[str] = (), trust_plugins: bool = False
) -> Path:
    """Draws the paper's figures with a run's model.

    Sheets like figures 2 to 6 of Kolesnikov & Lampert (2017) are written into RUN/figures and added to the report:
    images drawn given drawn views, images drawn given the views of held-out images, samples at several strengths of
    variance reduction, images drawn by the rule map, samples from coarse to fine, and the training images nearest to
    samples. Figures of views, and of rules that change nothing in the model, are left out. For a model that comes
    trained, the sheets are written into ./NAME/figures, without a report.

    Several processes, on one or more machines with the same folder, share the figures if all of them run this command
    with the same options. A command that was stopped continues, and nothing is drawn if the folder has the figures.

    Args:
        rows: number of rows of images in each figure
        settings: set keys of [sampling], data.path, data.config, data.options and data.workers, such as
            sampling.seed=1 or data.path=FOLDER, and further plugin files with plugins

    Returns:
        The folder of the figures.

    Raises:
        UserError: an argument is invalid, or the rule changes nothing for any head of the model

    Examples:
        >>> import auxar
        >>> auxar.figures("runs/quickstart", rows=1).as_posix()
        'runs/quickstart/figures'
    """
    from auxar.arguments import as_integer, as_path
    from auxar.commands.results import check_of
    from auxar.data.loading import images_of
    from auxar.draw.figures import Figures
    from auxar.draw.loading import opened
    from auxar.model.rule_effects import check_rule
    from auxar.recipe.options import DATA_SETTINGS, check_settings
    from auxar.recipe.schema import MOST_IMAGES
    from auxar.report.updating import update_report
    from auxar.work.processes import working_together

    with working_together() as processes:
        with processes.agreeing() as facts:
            rows = as_integer(rows, "rows", 1, MOST_IMAGES)
            check_settings(settings, "sampling.", *DATA_SETTINGS, "plugins")
            source = opened(as_path(run, "run"), settings, trust_plugins=trust_plugins)
            accelerator, model, recipe = source.accelerator(), source.model.chain, source.recipe
            check_rule(model, recipe.sampling.draw_rule(), model.arithmetic, key="sampling.rule")
            output = source.folder.output
            check_of(source.folder)(output.path)
            facts |= {"command": "figures", "--rows": rows, **source.facts}
        with processes.agreeing() as facts:
            data = images_of(recipe)
            facts |= data.facts
        found = Figures(source.folder, recipe, model, data, data.train, rows)
        found.do("figures" if accelerator.is_main_process else None)
        if source.folder.model is None:
            update_report(source.folder, accelerator)
    return output.figures
