"""`auxar launch`: trains the factors of a recipe's model as jobs of Slurm or of this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from auxar.cli.options import add_json, add_settings, add_trust, integer
from auxar.cli.output import Result

OPTIONS = (
    ("--gpus-per-job", integer, "N", "number of GPUs of each job (default: 0, jobs work on the CPU)"),
    ("--processes-per-job", integer, "N", "number of processes of each job (default: one for each GPU, or one)"),
    ("--cpus-per-job", integer, "N", "number of CPU cores of each job, for Slurm"),
    ("--memory", str, "SIZE", "memory of each job, for Slurm, such as 64G"),
    ("--time", str, "TIME", "time limit of each job, such as 24:00:00; afterwards, it continues from a checkpoint"),
    (
        "--array-limit",
        integer,
        "N",
        "maximum number of jobs at the same time (default: no limit for Slurm; on this machine, as many as its GPUs "
        "suffice for, or one)",
    ),
    ("--partition", str, "NAME", "Slurm's partition"),
    ("--account", str, "NAME", "Slurm's account"),
    ("--qos", str, "NAME", "Slurm's quality of service"),
)
"""Options that are keys of a site's file: name, type, name of the value and description."""
SHARDED = ("sample", "evaluate", "compress")
"""The commands that can be divided into shards."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `launch` to the parser."""
    parser = commands.add_parser(
        "launch",
        help="train the factors of a recipe's model as jobs of Slurm or of this machine",
        description="Trains every factor of the recipe's model in a job of its own. When all are trained, a last job "
        "evaluates the model, draws samples and writes the report. With Slurm, the command returns when the jobs are "
        "submitted; jobs on this machine are run to their end. The same command submits again only jobs whose work is "
        "not done. Needs `pip install 'auxar[launch]'`.",
    )
    parser.add_argument(
        "recipe",
        nargs="+",
        metavar="RECIPE",
        help="a TOML file, or the name of a recipe that comes with auxar; with --shards, a command after --, such as "
        "`-- sample RUN -n 100000`",
    )
    parser.add_argument("--on", metavar="QUEUE", help="slurm, or local for jobs on this machine")
    parser.add_argument(
        "--site", type=Path, metavar="FILE", help="a TOML file with these settings; options replace them"
    )
    for name, kind, value, description in OPTIONS:
        parser.add_argument(name, type=kind, metavar=value, help=description)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default: runs/<recipe name>)")
    add_settings(parser, "training.batch_size=128")
    parser.add_argument(
        "--shards",
        type=integer,
        metavar="N",
        help="instead of training, run the command after -- (sample, evaluate or compress) in N parts, each in a job "
        "of its own, and merge them in a last job",
    )
    parser.add_argument(
        "--status",
        action="store_true",
        help="show factors and jobs of the run whose folder is given in place of RECIPE",
    )
    parser.add_argument(
        "--cancel",
        action="store_true",
        help="end the jobs of the run whose folder is given in place of RECIPE; trainings write a checkpoint",
    )
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_launch)


def _launch(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.commands.launch import cancel_launch, launch, launch_status
    from auxar.commands.launch_shards import launch_shards
    from auxar.errors import UserError
    from auxar.report.jobs import job_lines, job_table
    from auxar.report.progress import progress_table
    from auxar.report.text import table_lines

    site = {name: getattr(options, name) for name in ("on", *(flag[2:].replace("-", "_") for flag, *_ in OPTIONS))}
    shown = "--status" if options.status else "--cancel" if options.cancel else None
    _check_combined(options, site, shown)
    if options.shards is not None:
        run, result = _task_of(options.recipe)
        found = launch_shards(run, options.recipe, options.shards, result=result, site=options.site, **site)
    elif len(options.recipe) > 1:
        raise UserError(f"expected one recipe, got {' '.join(options.recipe)}; commands in parts need --shards")
    elif shown:
        found = (launch_status if options.status else cancel_launch)(options.recipe[0])
    else:
        found = launch(
            options.recipe[0],
            site=options.site,
            settings=options.settings,
            out=options.out,
            trust_plugins=options.trust_plugins,
            **site,
        )
    lines = [f"run       {found.run.path}", "", *table_lines(progress_table(found.factors))]
    if found.jobs:
        lines += ["", *table_lines(job_table(found.jobs)), *job_lines(found.jobs)]
    record = {
        "run": str(found.run.path),
        "factors": [attrs.asdict(factor) for factor in found.factors],
        "jobs": [attrs.asdict(job) for job in found.jobs],
    }
    return Result(lines, record)


def _check_combined(options: argparse.Namespace, site: dict[str, Any], shown: str | None) -> None:
    """Raises `UserError` for options that would have no effect beside others."""
    from auxar.errors import UserError

    if options.status and options.cancel:
        raise UserError("--status cannot be combined with --cancel")
    values = (("--out", options.out), ("--set", options.settings), ("--trust-plugins", options.trust_plugins))
    own = [name for name, value in values if value]
    if options.shards is not None and own:
        raise UserError(f"{own[0]} cannot be combined with --shards; give it to the command after --")
    given = [f"--{name.replace('_', '-')}" for name, value in site.items() if value is not None] + own
    given += [name for name, value in (("--site", options.site), ("--shards", options.shards)) if value is not None]
    if shown and given:
        raise UserError(f"{given[0]} cannot be combined with {shown}")


def _task_of(words: list[str]) -> tuple[Path, Path | None]:
    """The run of a command that is divided into shards, and the file that it writes last, if this is known.

    The command's arguments are checked before jobs begin.
    """
    from auxar.cli import parsed
    from auxar.errors import UserError

    if words[0] not in SHARDED:
        raise UserError(f"--shards: expected one of the commands {', '.join(SHARDED)} after --, got '{words[0]}'")
    options = parsed(words)
    if options.shard is not None or options.merge is not None:
        raise UserError("--shards: the command after -- cannot have --shard or --merge")
    out: Path | None = getattr(options, "out", None)
    return options.run, out if out is None or words[0] == "compress" else out / "samples.json"
