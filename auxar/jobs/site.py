"""The settings of a site: where jobs run, and what each of them needs. They are no part of a recipe."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from auxar.errors import UserError, shown
from auxar.files import read_bytes
from auxar.recipe.toml import parse_toml, toml_text
from auxar.structuring import Misfit, StrictConverter

MOST_BYTES = 2**20
"""Maximum size of a site's file in bytes."""
EXAMPLE_OF_TIME = "a time such as 24:00:00, or 2-12 for two days and 12 hours"
"""A description of the times of jobs, for messages."""
LONGEST_TIME = 366 * 24 * 60
"""The time limit of a job on this machine, if none is given, and the largest that may be given: minutes of a year."""
_TIME = re.compile(r"(?:(?P<days>\d{1,3})-)?(?P<first>\d{1,6})(?::(?P<second>\d{1,2}))?(?::(?P<third>\d{1,2}))?")


def _at_least(least: int) -> Any:
    def check(_: object, attribute: attrs.Attribute[int], value: int | None) -> None:
        if value is not None and value < least:
            raise ValueError(f"{attribute.name}: expected at least {least}, got {value}")

    return check


def _minutes(text: str) -> int:
    """The minutes of a time in one of Slurm's formats, rounded up. Raises `ValueError` if it has another format."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"time: expected {EXAMPLE_OF_TIME}, got {shown(text)}")
    first, second, third = (int(match[name] or 0) for name in ("first", "second", "third"))
    if match["days"] is not None:
        seconds = ((int(match["days"]) * 24 + first) * 60 + second) * 60 + third
    elif match["third"] is not None:
        seconds = (first * 60 + second) * 60 + third
    else:
        seconds = first * 60 + second
    minutes = math.ceil(seconds / 60)
    if not 1 <= minutes <= LONGEST_TIME:
        raise ValueError(f"time: expected a time from a minute to a year, got {shown(text)}")
    return minutes


@attrs.frozen
class Site:
    """The settings of a site, the keys of its TOML file."""

    on: Literal["slurm", "local"] | None = None
    """Where jobs run: `slurm`, or `local` for this machine."""
    gpus_per_job: int = attrs.field(default=0, validator=_at_least(0))
    """Number of GPUs of each job. Without any, jobs work on the CPU."""
    processes_per_job: int | None = attrs.field(default=None, validator=_at_least(1))
    """Number of processes of each job. The default is one for each GPU, or one."""
    cpus_per_job: int | None = attrs.field(default=None, validator=_at_least(1))
    """Number of CPU cores of each job, for Slurm."""
    memory: str | None = None
    """Memory of each job, for Slurm, such as `64G`."""
    time: str | None = attrs.field(default=None)
    """Time limit of each job, in a format of Slurm. A training that reaches it continues in the queue from a
    checkpoint. All other jobs must be done by then."""
    seconds_to_stop: int = attrs.field(default=120, validator=_at_least(10))
    """Seconds before the time limit at which a job is asked to write a checkpoint."""
    array_limit: int | None = attrs.field(default=None, validator=_at_least(1))
    """Maximum number of jobs at the same time. The default is no limit for Slurm. On this machine it is the number of
    jobs that its GPUs suffice for, or one job."""
    partition: str | None = None
    """Slurm's partition."""
    account: str | None = None
    """Slurm's account."""
    qos: str | None = None
    """Slurm's quality of service."""
    setup: tuple[str, ...] = ()
    """Lines of shell code that run before each job, such as `module load cuda`."""
    slurm: dict[str, str] = attrs.field(factory=dict)
    """Further options of `sbatch` by name, without hyphens at the beginning, such as `constraint = "a100"`."""

    @time.validator
    def _check_time(self, _: attrs.Attribute[str | None], value: str | None) -> None:
        if value is not None:
            _minutes(value)

    @property
    def minutes(self) -> int:
        """The time limit of a job in minutes, rounded up."""
        return LONGEST_TIME if self.time is None else _minutes(self.time)

    @property
    def processes(self) -> int:
        """The number of processes of each job."""
        return self.processes_per_job or max(1, self.gpus_per_job)


def read_site(path: Path | None, options: Mapping[str, Any]) -> Site:
    """Reads a site's TOML file, if there is one. Options that are not None replace its keys.

    Raises `UserError` for a file that cannot be read, an unknown key or a wrong value; if nothing says where jobs run;
    and if jobs of Slurm have no time limit, because Slurm's own would end them without a checkpoint.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = parse_toml(toml_text(read_bytes(path, MOST_BYTES)))
        except ValueError as error:
            raise UserError(f"{path} is not a TOML file: {error}") from None
    # The file is checked alone first, so that a message about an option is not about the file.
    for values, name in ((table, str(path)), ({**table, **{k: v for k, v in options.items() if v is not None}}, "")):
        try:
            site = StrictConverter(unknown_keys="refused", finite=True).structure(values, Site)
        except Misfit as error:
            problem = error.problems[0]
            raise UserError(f"{name}: {problem}" if name else problem) from None
    if site.on is None:
        raise UserError("on: expected slurm or local, or a site's file (--site) with the key `on`")
    if site.on == "slurm" and site.time is None:
        raise UserError(
            f"time: jobs of Slurm need a time limit: {EXAMPLE_OF_TIME}; a job that reaches it continues from its "
            "last checkpoint"
        )
    if 60 * site.minutes <= site.seconds_to_stop:
        raise UserError(
            f"time: expected more than the {site.seconds_to_stop} seconds before its end at which a job is asked to "
            f"write a checkpoint (seconds_to_stop), got {shown(site.time)}"
        )
    if site.gpus_per_job and site.processes_per_job and site.processes_per_job > site.gpus_per_job:
        raise UserError(
            f"processes_per_job: expected at most the number of GPUs of a job, {site.gpus_per_job}, got "
            f"{site.processes_per_job}"
        )
    return site
