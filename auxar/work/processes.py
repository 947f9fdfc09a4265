"""The processes of a command that `torchrun` or `accelerate launch` has started together.

The launcher watches them: if one dies, it ends the others.
"""

import atexit
import contextlib
import importlib.metadata
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env

from auxar.errors import UserError, logger, one_line, shown
from auxar.plugins import INTERFACE_VERSION

Value = TypeVar("Value")


def _objection(reports: Sequence[tuple[Mapping[str, Any], str | None]]) -> str | None:
    """The reason why processes cannot work together, or None: the error of a process, or the first fact that differs.

    A report has facts, by the names that messages use, and the error of a process or None. Reports are in the order of
    the ranks.
    """
    for rank, (_, error) in enumerate(reports):
        if error is not None:
            return f"the process with rank {rank} of {len(reports)} cannot go on: {error}"
    first = reports[0][0]
    for rank, (facts, _) in enumerate(reports):
        for key in {**first, **facts}:
            if key not in first or key not in facts or first[key] != facts[key]:
                known = f"{key} = {shown(first[key])}" if key in first else f"no {key}"
                other = shown(facts[key]) if key in facts else "none"
                return (
                    f"the processes of this command differ: rank 0 has {known}, rank {rank} has {other}; start all "
                    "processes with the same command, files and version of auxar"
                )
    return None


@attrs.frozen
class Processes:
    """The process group of a command."""

    rank: int = 0
    """Rank of this process, from 0."""
    count: int = 1
    """Number of processes."""

    @property
    def is_main(self) -> bool:
        """Whether this is the process with rank 0, which writes files and prints progress."""
        return self.rank == 0

    @contextlib.contextmanager
    def agreeing(self) -> Iterator[dict[str, Any]]:
        """Ends all processes with an error if one of them fails within the block, or if their facts differ.

        Yields an empty dictionary for the facts of this process. Every process must enter the block. At its end, each
        process waits for all others, so none goes on before all have finished the block.

        Raises `UserError` with the error of another process, or with the first fact that differs. The message of an
        exception in this process is sent to the others, and the exception is raised again.
        """
        facts: dict[str, Any] = {}
        failure: Exception | None = None
        try:
            yield facts
        except Exception as error:
            failure = error
        told = None if failure is None else str(failure) or type(failure).__name__
        try:
            reports = gather_object([(facts, told)]) if self.count > 1 else []
        finally:
            if failure is not None:
                raise failure
        if reports and (reason := _objection(reports)) is not None:
            raise UserError(reason)

    def from_main(self, value: Value) -> Value:
        """Returns the value of the process with rank 0. Every process must call this."""
        if self.count == 1:
            return value
        values = [value]
        broadcast_object_list(values)
        return values[0]


ALONE = Processes()
"""A process that works on its own."""


@contextlib.contextmanager
def working_together() -> Iterator[Processes]:
    """Connects the processes of a command. Yields a single process if this one was started alone.

    Log messages below warnings are turned off in all processes except the main one. When the block ends without an
    error, all processes wait for each other.

    Raises `UserError` if the processes cannot be connected, if they have different versions of auxar, or if the
    connection breaks, because a process has died.
    """
    state = _connected()
    processes = Processes(state.process_index, state.num_processes)
    if not processes.is_main:
        logger.addFilter(_is_warning)  # Only the main process reports progress.
    try:
        with processes.agreeing() as facts:
            facts["the version of auxar"] = importlib.metadata.version("auxar")
            facts["the version of the plugin interfaces"] = INTERFACE_VERSION
        yield processes
        state.wait_for_everyone()
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
            told = "a process has ended, and its launcher says which"
            raise UserError(f"the connection to another process broke ({one_line(str(error))}): {told}") from None
        raise


def check_alone(command: str) -> None:
    """Raises `UserError` in every process unless `command`, such as "auxar score", was started in one process."""
    with working_together() as processes:
        if processes.count > 1:
            raise UserError(f"{command}: run this command in one process")


def _connected() -> PartialState:
    """Accelerate's view of the processes. The first call connects them for collective operations."""
    try:
        # Without GPUs, Accelerate would not connect the processes. Those of Apple lack float64; see `make_accelerator`.
        has_gpu = torch.accelerator.is_available() and not torch.backends.mps.is_available()
        state = PartialState(cpu=not has_gpu or parse_flag_from_env("ACCELERATE_USE_CPU"))
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes of this command cannot be connected ({one_line(str(error))}); start them by `torchrun` or "
            "`accelerate launch`"
        ) from None
    count = os.environ.get("WORLD_SIZE", "1")
    if state.num_processes == 1 and count != "1":
        raise UserError(
            f"WORLD_SIZE is {count}, but each process would work alone, because LOCAL_RANK is not set; start the "
            "processes by `torchrun` or `accelerate launch`"
        )
    # A later command of the same script needs the connection again. (`Accelerator.end_training` would end it.)
    atexit.unregister(_disconnect)
    atexit.register(_disconnect)
    return state


def _disconnect() -> None:
    """Disconnects the processes. Without this, some kinds of connections print a warning when the process ends."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
