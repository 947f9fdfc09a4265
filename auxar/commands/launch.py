"""The command `launch`: trains the factors of a recipe's model as jobs of Slurm or of this machine."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxar.arguments import as_path, check_strings
from auxar.commandline import Result, command
from auxar.errors import UserError, shown

if TYPE_CHECKING:
    from auxar.commands.launch_status import LaunchStatus


def _shown(found: LaunchStatus) -> Result:
    import attrs

    from auxar.report.jobs import job_lines, job_table
    from auxar.report.progress import progress_table
    from auxar.report.text import table_lines

    lines = [f"run       {found.run.path}", "", *table_lines(progress_table(found.factors))]
    if found.jobs:
        lines += ["", *table_lines(job_table(found.jobs)), *job_lines(found.jobs)]
    record = {
        "run": str(found.run.path),
        "factors": [attrs.asdict(factor) for factor in found.factors],
        "jobs": [attrs.asdict(job) for job in found.jobs],
    }
    return Result(lines, record)


@command("Train", show=_shown)
def launch(
    recipe: Sequence[str],
    *,
    on: str | None = None,
    site: str | PathLike[str] | None = None,
    gpus_per_job: int | None = None,
    processes_per_job: int | None = None,
    cpus_per_job: int | None = None,
    memory: str | None = None,
    time: str | None = None,
    seconds_to_stop: int | None = None,
    array_limit: int | None = None,
    partition: str | None = None,
    account: str | None = None,
    qos: str | None = None,
    setup: Sequence[str] = (),
    slurm: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    settings: Sequence[str] = (),
    copies: int | None = None,
    status: bool = False,
    cancel: bool = False,
    trust_plugins: bool = False,
) -> LaunchStatus:
    """Trains a recipe's factors as jobs of Slurm or locally.

    Every factor is trained in a job of its own. When all are trained, a last job evaluates the model, draws samples
    and writes the report. With Slurm, the command returns when the jobs are submitted; jobs on this machine are run to
    their end. The same command submits again only jobs whose work is not done. Needs `pip install 'auxar[launch]'`.

    Args:
        recipe (RECIPE): a TOML file, or the name of a recipe that comes with auxar; with --copies, a command after --,
            such as `-- sample RUN -n 100000`
        on (--on QUEUE): slurm, or local for jobs on this machine
        site (--site FILE): a TOML file with these settings; options replace them
        gpus_per_job: number of GPUs of each job (default: 0, jobs work on the CPU)
        processes_per_job: number of processes of each job (default: one for each GPU, or one)
        cpus_per_job: number of CPU cores of each job, for Slurm
        memory (--memory SIZE): memory of each job, for Slurm, such as 64G
        time (--time TIME): time limit of each job, such as 24:00:00; afterwards, it continues from a checkpoint
        seconds_to_stop: seconds before the time limit at which a job is asked to write a checkpoint (default: 120)
        array_limit: maximum number of jobs at the same time (default: no limit for Slurm; on this machine, as many as
            its GPUs suffice for, or one)
        partition: Slurm's partition
        account: Slurm's account
        qos: Slurm's quality of service
        setup (--setup LINE): lines of shell code that run before each job, such as "module load cuda"
        slurm (--slurm NAME=VALUE): further options of sbatch, such as constraint=a100
        out (--out DIR): the run's folder (default: runs/NAME, with the name of the recipe, or that of its file without
            .toml)
        settings: override keys of the recipe, such as training.batch_size=128
        copies: instead of training, run the command after -- (sample, evaluate or compress) in N jobs at the same time,
            which share its work
        status: show factors and jobs of the run whose folder is given in place of RECIPE
        cancel: end the jobs of the run whose folder is given in place of RECIPE; trainings write a checkpoint

    Returns:
        The progress of the factors, and the jobs of the run.

    Raises:
        UserError: the recipe, the site or the folder are invalid, the queue refuses the jobs, or a job on this machine
            fails

    Examples:
        >>> import auxar
        >>> auxar.launch("quickstart", on="cloud")
        Traceback (most recent call last):
        auxar.errors.UserError: on: expected one of slurm, local, got 'cloud'
    """
    from auxar.commands.launch_copies import launch_copies, run_of
    from auxar.commands.launch_status import cancel_launch, launch_status
    from auxar.commands.launch_training import launch_training
    from auxar.jobs.queues import LocalQueue, check_submitit
    from auxar.jobs.site import read_site
    from auxar.recipe import load_recipe
    from auxar.recipe.shipped import default_folder
    from auxar.runs.layout import RunFolder

    words = [str(as_path(recipe, "recipe"))] if isinstance(recipe, str | PathLike) else recipe
    check_strings(words, "recipe", "words of a command")
    for name, lines in (("setup", setup), ("slurm", slurm)):
        check_strings(lines, name, "texts")
    keys = {
        "on": on,
        "gpus_per_job": gpus_per_job,
        "processes_per_job": processes_per_job,
        "cpus_per_job": cpus_per_job,
        "memory": memory,
        "time": time,
        "seconds_to_stop": seconds_to_stop,
        "array_limit": array_limit,
        "partition": partition,
        "account": account,
        "qos": qos,
        "setup": list(setup) or None,
        "slurm": _table(slurm) or None,
    }
    of_training = {"out": out, "settings": settings or None, "trust_plugins": trust_plugins or None}
    if status and cancel:
        raise UserError("status: cannot be combined with --cancel")
    if status or cancel:
        _check_none({**keys, "site": site, "copies": copies, **of_training}, "--status" if status else "--cancel")
    if copies is not None:
        _check_none(of_training, "--copies; give it to the command after --")
        place = run_of(words)
    elif len(words) != 1:
        raise UserError(f"expected one recipe, got {' '.join(words)}; other commands need --copies")
    if status or cancel:
        return launch_status(words[0]) if status else cancel_launch(words[0])
    chosen = read_site(None if site is None else as_path(site, "site"), keys)
    check_submitit()
    queue = LocalQueue(chosen) if chosen.on == "local" else None
    if copies is not None:
        launch_copies(words, copies, chosen, queue)
        return launch_status(place)
    path = as_path(words[0], "recipe")
    folder = default_folder(path) if out is None else as_path(out, "out")
    load = functools.partial(load_recipe, path, settings, trust_plugins=trust_plugins)
    launch_training(load, RunFolder(Path(os.path.abspath(folder))), chosen, queue, trust_plugins=trust_plugins)
    return launch_status(folder)


def _table(options: Sequence[str]) -> dict[str, str]:
    """The options of `sbatch` by name. Raises `UserError` for a text that is not NAME=VALUE."""
    for option in options:
        if "=" not in option:
            raise UserError(f"slurm: expected NAME=VALUE, such as constraint=a100, got {shown(option)}")
    return dict(option.split("=", 1) for option in options)


def _check_none(arguments: Mapping[str, Any], other: str) -> None:
    """Raises `UserError` for the first of some arguments that is not None, because it has no effect beside others."""
    for name, value in arguments.items():
        if value is not None:
            raise UserError(f"{name}: cannot be combined with {other}")
