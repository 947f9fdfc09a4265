"""The command `run`: trains a recipe's model, evaluates it, draws samples and figures, and writes a report."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from auxar.arguments import as_integer, as_path, check_flag
from auxar.commandline import Result, command
from auxar.errors import UserError

if TYPE_CHECKING:
    from auxar.report.summary import MeasuredRun


def _shown(found: MeasuredRun | list[MeasuredRun]) -> Result:
    if isinstance(found, list):
        return _shown_runs(found)
    import attrs

    from auxar.recipe import read_recipe
    from auxar.report.summary import summary_lines
    from auxar.report.text import table_lines
    from auxar.report.training_tables import progress_table, training_progress

    if not found.only_trained:
        return Result(summary_lines(found.summary), found.to_dict())
    progress = training_progress(found, read_recipe(found.recipe))
    return Result(table_lines(progress_table(progress)), [attrs.asdict(factor) for factor in progress])


def _shown_runs(found: list[MeasuredRun]) -> Result:
    """The results of several runs, and then their means over seeds."""
    from auxar.evaluation.comparison import compare_runs
    from auxar.report.comparison_tables import settings_table
    from auxar.report.text import table_lines

    shown = [_shown(run) for run in found]
    lines = []
    for run, own in zip(found, shown, strict=True):
        lines += [*([str(run.path)] if run.only_trained else ()), *own.lines, ""]
    # The bits/dim of images of different sizes cannot be compared.
    with contextlib.suppress(UserError):
        if not found[0].only_trained:
            lines += table_lines(settings_table(compare_runs([run.path for run in found])))
    return Result(lines, [own.record for own in shown])


class _Options(TypedDict, total=False):
    settings: Sequence[str]
    out: str | PathLike[str] | None
    only: Sequence[str]
    train_only: bool
    wait: bool
    trust_plugins: bool


@overload
def run(recipe: str | PathLike[str], **options: Unpack[_Options]) -> MeasuredRun: ...


@overload
def run(
    recipe: str | PathLike[str],
    *,
    sweep: Mapping[str, Sequence[Any]] | Sequence[str] = (),
    seeds: int | None = None,
    **options: Unpack[_Options],
) -> list[MeasuredRun]: ...


@command("Train", show=_shown)
def run(
    recipe: str | PathLike[str],
    *,
    settings: Sequence[str] = (),
    sweep: Mapping[str, Sequence[Any]] | Sequence[str] = (),
    seeds: int | None = None,
    out: str | PathLike[str] | None = None,
    only: Sequence[str] = (),
    train_only: bool = False,
    wait: bool = True,
    trust_plugins: bool = False,
) -> MeasuredRun | list[MeasuredRun]:
    """Trains, evaluates and samples a recipe's model; writes a report.

    Every factor is trained and evaluated in bits/dim. Samples and figures are drawn only if all factors are trained. A
    stopped run continues from its last checkpoints, and so does a finished run if the recipe now sets more steps.

    Several processes, on one or more machines, share a run: the same command in each of them trains the factors that no
    other trains, and shares the evaluation and the samples. To train each factor by several processes together, each
    with a part of every batch: `torchrun --nproc-per-node N -m auxar run RECIPE`.

    With several seeds, or with values for some keys, one run is made for each seed and each combination of values.
    Their folders are in the folder of `out`, such as runs/NAME/learning_rate=0.001,seed=0. If they are stopped, the
    same command continues; if it is started several times, its processes share the runs. `auxar compare runs/NAME/*`
    compares them.

    The recipe and its components are checked before anything is written. So are the images of a new run, except for
    single images of a stream.

    Args:
        settings: override keys of the recipe, such as training.steps=100, stage[0].decoder.filters=32
        sweep (--sweep KEY=VALUES): make a run for each of these values of a key of the recipe, which commas separate,
            such as training.steps=100,200; values of several keys are combined
        seeds (--seeds N): make N runs with the seeds training.seed, training.seed + 1, …
        out (--out DIR): the run's folder (default: runs/NAME, with the name of the recipe, or that of its file without
            .toml)
        only (--factors NAME,…): train only these factors: stage0 (the image given its view), stage1, … or prior (the
            coarsest view)
        train_only: train the factors without evaluation, samples and report
        wait: while other processes train all factors that are left, wait for them, and train a factor whose process has
            ended; with --no-wait, the command ends

    Returns:
        The run's folder and its held-out bits/dim; a list of them if there are several seeds or values.

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
        >>> several = auxar.run("quickstart", settings=settings, only=["prior"], seeds=2, out="runs/seeds")
        >>> [run.path.name for run in several]
        ['seed=0', 'seed=1']
    """
    from auxar.pipeline import run_pipeline
    from auxar.recipe import load_recipe
    from auxar.recipe.shipped import default_folder
    from auxar.report.summary import MeasuredRun
    from auxar.runs.layout import RunFolder
    from auxar.sweeps import run_all

    path = as_path(recipe, "recipe")
    check_flag(train_only, "train_only")
    check_flag(wait, "wait")
    folder = default_folder(path) if out is None else as_path(out, "out")
    load = functools.partial(load_recipe, path, trust_plugins=trust_plugins)
    if sweep or seeds is not None:
        count = None if seeds is None else as_integer(seeds, "seeds", 1)
        waited = run_all(load, folder, settings, sweep, count, only, train_only=train_only, wait=wait)
        return [MeasuredRun(path, only_trained=train_only or not done) for path, done in waited.items()]
    own = functools.partial(load, settings)
    done = run_pipeline(own, RunFolder(folder), only, train_only=train_only, wait=wait)
    return MeasuredRun(folder, only_trained=train_only or not done)
