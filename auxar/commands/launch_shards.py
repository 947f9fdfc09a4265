"""The command `launch --shards`: runs another command in parts, as jobs, and merges them in a last job."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from auxar.arguments import as_integer, as_path
from auxar.commands.launch import LaunchStatus, launch_status
from auxar.commands.launched_jobs import active_jobs, holding_jobs, is_done, job_of, recorded_run, start_jobs
from auxar.distributed.shards import MOST_SHARDS, Shard
from auxar.files import kind, read_bytes, read_checksum
from auxar.jobs.queues import LocalQueue, check_submitit
from auxar.jobs.site import read_site
from auxar.recipe import read_recipe

logger = logging.getLogger("auxar")


def launch_shards(
    path: str | PathLike[str],
    command: Sequence[str],
    count: int,
    *,
    result: Path | None = None,
    site: str | PathLike[str] | None = None,
    **options: Any,
) -> LaunchStatus:
    """Runs a command of auxar in `count` shards, each as a job, and then a job that merges them.

    `path` is the run's folder or the name of a model, and `command` the arguments of `auxar sample`, `auxar evaluate`
    or `auxar compress` for it, without `--shard`. `result` is a file that the command writes last, if it is known. If
    it exists, and the jobs of the same command have written it, no job begins. The site's settings are those of
    `auxar.launch`, and so is the handling of jobs. They are recorded in the run's folder or, for a model that comes
    trained, in ./NAME.

    Raises `UserError` like `auxar.launch`.
    """
    count = as_integer(count, "--shards", 1, MOST_SHARDS)
    chosen = read_site(None if site is None else as_path(site, "site"), options)
    check_submitit()
    queue = LocalQueue(chosen) if chosen.on == "local" else None
    found, run = recorded_run(path)
    weights = [read_checksum(found.weights(name)) for name in found.trained(read_recipe(found.recipe))]
    recipe = hashlib.sha256(read_bytes(found.recipe)).hexdigest()
    # The same words with other weights, for example, are another task.
    facts = [*command, count, os.getcwd(), importlib.metadata.version("auxar"), recipe, *weights]
    task = f"{command[0]}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:6]}"
    shards = [Shard(number + 1, count) for number in range(count)]
    jobs = [job_of(run, chosen, f"{task}-{each.file}", [*command, "--shard", str(each)]) for each in shards]
    last = job_of(run, chosen, f"{task}-merge", [*command, "--merge", str(count)], single=True)
    with holding_jobs(run):
        begun = active_jobs(run, chosen, queue, [job.name for job in (*jobs, last)])
        if is_done(last) and result is not None and kind(result) is not None:
            logger.info("this is done already: %s", result)
        else:
            start_jobs(run, chosen, queue, [job for job in jobs if job.name not in begun], last, begun)
    return launch_status(path)
