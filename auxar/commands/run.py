"""The command `run`: trains a recipe's model, evaluates it, draws samples and figures, and writes a report."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from auxar.arguments import as_path, check_flag
from auxar.commandline import Result, command

if TYPE_CHECKING:
    from auxar.report.summary import MeasuredRun


def _shown(found: MeasuredRun) -> Result:
    import attrs

    from auxar.recipe import read_recipe
    from auxar.report.progress import progress_table, training_progress
    from auxar.report.summary import summary_lines
    from auxar.report.text import table_lines

    if not found.only_trained:
        return Result(summary_lines(found.summary), found.to_dict())
    progress = training_progress(found, read_recipe(found.recipe))
    return Result(table_lines(progress_table(progress)), [attrs.asdict(factor) for factor in progress])


@command("Train", show=_shown)
def run(
    recipe: str | PathLike[str],
    *,
    settings: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    only: Sequence[str] = (),
    train_only: bool = False,
    wait: bool = True,
    trust_plugins: bool = False,
) -> MeasuredRun:
    """Trains, evaluates and samples a recipe's model; writes a report.

    Every factor is trained and evaluated in bits/dim. Samples and figures are drawn only if all factors are trained. A
    stopped run continues from its last checkpoints, and so does a finished run if the recipe now sets more steps.

    Several processes, on one or more machines, share a run: the same command in each of them trains the factors that no
    other trains, and shares the evaluation and the samples. To train each factor by several processes together, each
    with a part of every batch: `torchrun --nproc-per-node N -m auxar run RECIPE`.

    The recipe and its components are checked before anything is written. So are the images of a new run, except for
    single images of a stream.

    Args:
        settings: override keys of the recipe, such as training.steps=100, stage[0].decoder.filters=32
        out (--out DIR): the run's folder (default: runs/NAME, with the name of the recipe, or that of its file without
            .toml)
        only (--factors NAME,…): train only these factors: stage0 (the image given its view), stage1, … or prior (the
            coarsest view)
        train_only: train the factors without evaluation, samples and report
        wait: while other processes train all factors that are left, wait for them, and train a factor whose process has
            ended; with --no-wait, the command ends

    Returns:
        The run's folder and its held-out bits/dim.

    Raises:
        UserError: the recipe, the folder or the images are invalid, or another process trains a factor with other
            settings; in a process group, in all processes if one fails before training, or if their recipes, arguments
            or images differ

    Examples:
        >>> import auxar
        >>> settings = ["training.steps=1", "training.initialization_images=8", "evaluation.train_images=0"]
        >>> run = auxar.run("quickstart", settings=settings, only=["prior"], out="runs/one-step")
        >>> run.report.as_posix(), run.summary.factors[2].bits_per_dim > 0
        ('runs/one-step/report.html', True)
    """
    from auxar.pipeline import run_pipeline
    from auxar.recipe import load_recipe
    from auxar.recipe.shipped import default_folder
    from auxar.report.summary import MeasuredRun
    from auxar.runs.layout import RunFolder

    path = as_path(recipe, "recipe")
    check_flag(train_only, "train_only")
    check_flag(wait, "wait")
    folder = default_folder(path) if out is None else as_path(out, "out")
    load = functools.partial(load_recipe, path, settings, trust_plugins=trust_plugins)
    waited = run_pipeline(load, RunFolder(folder), only, train_only=train_only, wait=wait)
    return MeasuredRun(folder, only_trained=train_only or not waited)
