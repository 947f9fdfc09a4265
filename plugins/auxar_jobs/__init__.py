"""The command `launch`: runs the same command several times at once, as jobs of Slurm or on this machine."""

from __future__ import annotations

import shutil
import tempfile
import time as clock
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from auxar import Result, UserError, as_integer, as_path, check_flag, check_strings, command

if TYPE_CHECKING:
    from auxar_jobs.copies import Launched


def _shown(found: list[Launched]) -> Result:
    import attrs

    records = [{**attrs.asdict(job), "log": str(job.log)} for job in found]
    return Result([f"{job.state:<10}{job.name}  {job.log}" for job in found], records)


@command("Train", show=_shown)
def launch(
    line: Sequence[str],
    *,
    jobs: int = 1,
    on: str | None = None,
    gpus_per_job: int = 0,
    cpus_per_job: int | None = None,
    memory: str | None = None,
    time: str | None = None,
    slurm: Sequence[str] = (),
    wait: bool = False,
    logs: str | PathLike[str] = "jobs",
) -> list[Launched]:
    """Runs a command in several jobs, which share its work.

    Jobs of Slurm are submitted by submitit (`pip install 'auxar[launch]'`). Before its time limit, and when Slurm
    requeues it, a job ends with a checkpoint and then runs the same command again. Jobs on this machine are processes
    that run at the same time; Ctrl-C ends all of them.

    Args:
        line (COMMAND …): the command and its arguments, such as `evaluate RUN` or `auxar run RECIPE`; it comes after
            all options, and after -- if the last option may have several values
        jobs (-n, --jobs N): number of jobs
        on (--on QUEUE): slurm, or local for this machine (default: slurm if it is installed)
        gpus_per_job: number of GPUs of each job, with a process for each (default: 0, jobs work on the CPU)
        cpus_per_job: number of CPU cores of each job (default: Slurm's; on this machine, an equal share)
        memory (--memory SIZE): memory of each job of Slurm, such as 64G
        time (--time TIME): time limit after which a job of Slurm runs again, such as 24:00:00
        slurm (--slurm KEY=VALUE): further options of sbatch, such as partition=gpu account=vision exclusive
        wait: return when the jobs of Slurm have ended, as on this machine
        logs (--logs DIR): folder for the messages of jobs, in which each launch makes a folder

    Returns:
        The jobs, with their states and the files of their messages.

    Raises:
        UserError: the command or its arguments are wrong, Slurm refuses the jobs, or a job has failed

    Examples:
        >>> import auxar
        >>> auxar.launch(["evaluate"], jobs=8)
        Traceback (most recent call last):
        auxar.errors.UserError: auxar evaluate: the following arguments are required: RUN
    """
    from auxar import check_line
    from auxar_jobs.copies import Copies, run_here

    check_strings(line, "line", "words of a command")
    check_flag(wait, "wait")
    words = tuple(line)
    while words[:1] in (("--",), ("auxar",)):
        words = words[1:]
    check_line(words)  # A job could wait for hours before it says this.
    cores = None if cpus_per_job is None else as_integer(cpus_per_job, "cpus_per_job", 1)
    copies = Copies(words, as_integer(jobs, "jobs", 1), as_integer(gpus_per_job, "gpus_per_job", 0), cores)
    place = on or ("slurm" if shutil.which("sbatch") else "local")
    if place not in ("slurm", "local"):
        raise UserError(f"on: expected slurm or local, got {on!r}")
    if place == "local":
        if time or memory or slurm:
            raise UserError("only jobs of Slurm have --time, --memory and --slurm; leave them out, or add --on slurm")
        return run_here(copies, _new_folder(logs))
    if not time:
        raise UserError("time: expected the time limit of a job, such as 24:00:00; a job that reaches it goes on later")
    from auxar_jobs.slurm import submit, wait_for

    submitted = submit(copies, {"time": time, "mem": memory, **_table(slurm)}, _new_folder(logs))
    return wait_for(submitted) if wait else submitted


def _table(options: Sequence[str]) -> dict[str, str | bool]:
    """The options of `sbatch` by name, as submitit spells them. Flags are True."""
    found = (option.partition("=") for option in options)
    return {name.lstrip("-").replace("-", "_"): value if equals else True for name, equals, value in found}


def _new_folder(logs: str | PathLike[str]) -> Path:
    """A new folder, which only this user can change: submitit runs code that it reads from there."""
    if not str(logs).isprintable():  # Slurm and its scripts get the path as a line of text.
        raise UserError(f"logs: expected a folder without control characters in its path, got {str(logs)!r}")
    try:
        as_path(logs, "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"logs: the folder {logs} cannot be made: {error.strerror}") from None
    return Path(tempfile.mkdtemp(dir=logs, prefix=clock.strftime("%Y%m%d-%H%M%S-")))
