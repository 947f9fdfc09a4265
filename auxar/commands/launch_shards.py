"""Running another command in parts as jobs, and merging them in a last job, for the command `launch --shards`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import attrs

from auxar.arguments import as_integer
from auxar.cli import parsed
from auxar.commands.launched_jobs import active_jobs, holding_jobs, is_done, job_of, recorded_run, start_jobs
from auxar.distributed.shards import MOST_SHARDS, Shard
from auxar.errors import UserError, shown
from auxar.files import kind, read_bytes, read_checksum
from auxar.jobs.queues import LocalQueue
from auxar.jobs.site import Site
from auxar.recipe import read_recipe

logger = logging.getLogger("auxar")

SHARDED = ("sample", "evaluate", "compress")
"""The commands that can be divided into shards."""


@attrs.frozen
class ShardedCommand:
    """A command of auxar that is divided into shards."""

    words: Sequence[str]
    """Its name and its arguments, without those of a shard."""
    shards: Sequence[Shard]
    """The shards."""
    run: Path
    """The run's folder, or the name of a model, that the command uses."""
    result: Path | None
    """The file that the command writes last, if it is known."""

    @classmethod
    def of(cls, words: Sequence[str], count: int) -> ShardedCommand:
        """The command with these words, divided into `count` shards. Raises `UserError` for wrong arguments."""
        count = as_integer(count, "shards", 1, MOST_SHARDS)
        name = words[0] if words else ""
        if name not in SHARDED:
            raise UserError(f"shards: expected one of the commands {', '.join(SHARDED)} after --, got {shown(name)}")
        try:
            options = parsed(words)
        except SystemExit:  # A message of the parser was printed.
            raise UserError("shards: the command after -- has wrong arguments") from None
        if options.shard is not None or options.merge is not None:
            raise UserError("shards: the command after -- cannot have --shard or --merge")
        out = None if getattr(options, "out", None) is None else Path(options.out)
        shards = [Shard(number + 1, count) for number in range(count)]
        return cls(words, shards, Path(options.run), out if out is None or name == "compress" else out / "samples.json")


def launch_shards(command: ShardedCommand, site: Site, queue: LocalQueue | None) -> None:
    """Runs a command in shards, each as a job, and then a job that merges them.

    If the file that the command writes last exists, and the jobs of the same command have written it, no job begins.
    The jobs are recorded in the run's folder or, for a model that comes trained, in ./NAME. Without `queue`, they are
    submitted to Slurm.
    """
    words, count = command.words, len(command.shards)
    found, run = recorded_run(command.run)
    weights = [read_checksum(found.weights(name)) for name in found.trained(read_recipe(found.recipe))]
    recipe = hashlib.sha256(read_bytes(found.recipe)).hexdigest()
    # The same words with other weights, for example, are another task.
    facts = [*words, count, os.getcwd(), importlib.metadata.version("auxar"), recipe, *weights]
    task = f"{words[0]}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:6]}"
    jobs = [job_of(run, site, f"{task}-{each.file}", [*words, "--shard", str(each)]) for each in command.shards]
    last = job_of(run, site, f"{task}-merge", [*words, "--merge", str(count)], single=True)
    with holding_jobs(run):
        begun = active_jobs(run, site, queue, [job.name for job in (*jobs, last)])
        if is_done(last) and command.result is not None and kind(command.result) is not None:
            logger.info("this is done already: %s", command.result)
        else:
            start_jobs(run, site, queue, [job for job in jobs if job.name not in begun], last, begun)
