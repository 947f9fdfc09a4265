"""Running one command in several jobs, which share its work, for the command `launch --copies`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from auxar.arguments import as_integer
from auxar.cli import parsed
from auxar.commands.launched_jobs import active_jobs, holding_jobs, job_of, recorded_run, start_jobs
from auxar.errors import UserError, shown
from auxar.jobs.queues import LocalQueue
from auxar.jobs.site import Site

SHARING = ("sample", "evaluate", "compress")
"""The commands whose processes share their work."""
MOST_COPIES = 10_000
"""Maximum number of jobs."""


def run_of(words: Sequence[str]) -> Path:
    """The run's folder, or the name of a model, that a command uses, given the words of its line.

    Raises `UserError` for wrong arguments, or if processes of this command do not share their work.
    """
    name = words[0] if words else ""
    if name not in SHARING:
        raise UserError(f"copies: expected one of the commands {', '.join(SHARING)} after --, got {shown(name)}")
    try:
        return Path(parsed(words).run)
    except SystemExit:  # A message of the parser was printed.
        raise UserError("copies: the command after -- has wrong arguments") from None


def launch_copies(words: Sequence[str], count: int, site: Site, queue: LocalQueue | None) -> None:
    """Runs the line of a command in `count` jobs at the same time.

    A job that finds the work done ends at once, so the same command can be repeated. The jobs are recorded in the run's
    folder or, for a pretrained model, in ./NAME. Without `queue`, they are submitted to Slurm.
    """
    count = as_integer(count, "copies", 1, MOST_COPIES)
    _, run = recorded_run(run_of(words))
    task = f"{words[0]}-{hashlib.sha256(json.dumps([*words, os.getcwd()]).encode()).hexdigest()[:6]}"
    jobs = [job_of(run, site, f"{task}-{number + 1}", words) for number in range(count)]
    with holding_jobs(run):
        begun = active_jobs(run, site, queue, [job.name for job in jobs])
        start_jobs(run, site, queue, [job for job in jobs if job.name not in begun], None, begun)
