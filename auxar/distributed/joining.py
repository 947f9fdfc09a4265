"""Brings together the processes that a launcher, or a user by hand, has started for one command."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from datetime import timedelta

import attrs
import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch.distributed import PrefixStore, Store, TCPStore

from auxar.distributed.processes import TOLD_AFTER, TOLD_EVERY, Processes
from auxar.distributed.signals import PEER_DIED, Interrupted
from auxar.distributed.watchdog import watching
from auxar.errors import UserError, shown

logger = logging.getLogger("auxar")

LIMIT = 600.0
"""Maximum time, in seconds, that a process waits for the others to start."""
CONNECTING = timedelta(seconds=30)
"""Time limit of a connection to the store, which is made when the store is known to be there."""
DEFAULT_PORT = 29500
"""The port that Accelerate uses if MASTER_PORT is not set."""

_joined: Processes | None = None
"""The processes that this process joined with an earlier command. They stay connected until it ends."""


@attrs.frozen
class Place:
    """The place of this process among several, as the environment variables of torch's launcher describe it."""

    rank: int
    """Rank of this process, from 0."""
    count: int
    """Number of processes."""
    host: str
    """The machine of the key-value store."""
    port: int
    """The port of the key-value store."""
    hosts: bool
    """Whether this process provides the store. Otherwise another process, or a launcher, does."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place | None:
        """The place that the environment describes, or None if WORLD_SIZE is not set or is at most 1.

        Raises `UserError` if a variable is missing or invalid.
        """
        count = _integer(environment, "WORLD_SIZE", 1)
        if count <= 1:
            return None
        for name, meaning in (("RANK", "the number of this process, from 0"), ("MASTER_ADDR", "the host of rank 0")):
            if not environment.get(name):
                raise UserError(f"WORLD_SIZE is {count}, but {name} is not set; set it to {meaning}, or use a launcher")
        rank, port = _integer(environment, "RANK", 0), _integer(environment, "MASTER_PORT", DEFAULT_PORT)
        if not 0 <= rank < count:
            raise UserError(f"RANK: expected a number from 0 to WORLD_SIZE - 1 = {count - 1}, got {rank}")
        if not 0 < port < 2**16:
            raise UserError(f"MASTER_PORT: expected a number from 1 to {2**16 - 1}, got {port}")
        launched = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return cls(rank, count, environment["MASTER_ADDR"], port, hosts=rank == 0 and not launched)

    @property
    def advice(self) -> str:
        """The end of a message about processes that have not started."""
        return (
            f"start each of them with the same command, WORLD_SIZE={self.count}, MASTER_ADDR={self.host}, "
            f"MASTER_PORT={self.port} and its own RANK, or end this process"
        )


def _integer(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text.strip():
        return default
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{name}: expected an integer, got {shown(text)}") from None


@contextlib.contextmanager
def working_together() -> Iterator[Processes]:
    """Joins the processes of a command, and watches them within the block; see `watching`.

    Waits until all processes have started. Log messages below warnings are turned off in all processes except the main
    one. Yields a single process if this one was started alone.

    Raises `UserError` if the environment does not describe the processes, if they do not start within `LIMIT` seconds,
    or if they have different versions of auxar.
    """
    global _joined
    if _joined is None or _joined.count == 1:
        _joined = _join()
    if not _joined.is_main:
        logger.addFilter(_is_warning)  # Only the main process reports progress.
    with watching(_joined):
        if _state().num_processes != _joined.count:
            raise UserError(_alone(_joined.count))
        yield _joined
    # A later command of the same script needs the connection again. (`Accelerator.end_training` would end it.)
    atexit.unregister(_leave)
    atexit.register(_leave)


def check_alone(command: str) -> None:
    """Raises `UserError` in every process unless `command`, such as "auxar score", was started in one process."""
    with working_together() as processes:
        if processes.count > 1:
            raise UserError(f"{command}: run this command in one process")


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _leave() -> None:
    """Disconnects the processes. Without this, some kinds of connections print a warning when the process ends."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _join() -> Processes:
    # A script may have connected the processes before it calls auxar, and MPI has variables of its own.
    place = None if torch.distributed.is_initialized() else Place.of(os.environ)
    if place is not None:
        return meet(place)
    state = _state()
    processes = Processes(state.process_index, state.num_processes)
    if processes.count > 1:
        processes.greet()
    return processes


def _state() -> PartialState:
    """Accelerate's view of the processes. The first call connects them for collective operations."""
    # As in `make_accelerator`. Unlike `Accelerator`, `PartialState` does not read the variable itself.
    return PartialState(cpu=torch.backends.mps.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"))


def _alone(count: int) -> str:
    """The message about a process that Accelerate would let work alone, although it was started as one of several."""
    if torch.cuda.is_available():
        cause, advice = "LOCAL_RANK is not set", "set LOCAL_RANK to the number of the process on its machine"
    else:
        cause, advice = "there is no GPU", "set ACCELERATE_USE_CPU=true to use CPUs"
    return f"WORLD_SIZE is {count}, but each process would work alone, because {cause}; {advice}, or use a launcher"


def meet(place: Place) -> Processes:
    """Waits until all processes have started, and returns them.

    Raises `UserError` as described in `working_together`, and `Interrupted` if the connection breaks.
    """
    try:
        processes = Processes(place.rank, place.count, connect(place))
        if processes.store is not None and processes.store.add(f"rank {place.rank}", 1) > 1:
            raise UserError(f"RANK: another process has rank {place.rank} already; give each process its own number")
        processes.greet(place.advice, LIMIT)
    except torch.distributed.DistError as error:
        raise Interrupted(f"the connection to {place.host}:{place.port} broke ({error})", PEER_DIED) from None
    return processes


def connect(place: Place) -> Store:
    """The key-value store of the processes. Waits until the process or the launcher that provides it has started.

    Raises `UserError` if the store cannot be provided, or cannot be reached within `LIMIT` seconds.
    """
    if not place.hosts:
        _wait_for_port(place)
    try:
        store = _store(place)
    except torch.distributed.DistError as error:
        if not place.hosts:
            raise
        raise UserError(
            f"MASTER_ADDR={place.host}, MASTER_PORT={place.port}: the process with rank 0 cannot listen there; use an "
            f"address of its machine, and a port that no other program uses, nor another process with RANK=0 "
            f"({str(error).splitlines()[0]})"
        ) from None
    # A launcher may restart the processes, and its store keeps the keys of earlier attempts.
    return PrefixStore(f"auxar/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _store(place: Place) -> TCPStore:
    """Makes the store in another thread, because its constructor neither reacts to signals nor keeps its time limit.

    Raises `UserError` if it does not connect in time, which happens if another program listens at its port.
    """
    made: Future[TCPStore] = Future()

    def make() -> None:
        try:
            # `multi_tenant` lets the process group use the same port.
            store = TCPStore(
                place.host,
                place.port,
                place.count,
                place.hosts,
                timeout=CONNECTING,
                wait_for_workers=False,
                multi_tenant=place.hosts,
            )
        except Exception as error:
            made.set_exception(error)
        else:
            made.set_result(store)

    # A thread of a pool would be waited for when this process ends.
    threading.Thread(target=make, name="auxar store", daemon=True).start()
    limit = 2 * CONNECTING.total_seconds()
    if not wait([made], timeout=limit).done:
        raise UserError(
            f"MASTER_ADDR={place.host}, MASTER_PORT={place.port}: the program that listens there did not answer within "
            f"{limit:.0f} seconds; use a port that no other program uses"
        )
    return made.result()


def _wait_for_port(place: Place) -> None:
    """Waits until a connection to the store is possible. The constructor of the store would not react to signals."""
    started = time.monotonic()
    tell_at = started + TOLD_AFTER
    while True:
        try:
            with socket.create_connection((place.host, place.port), timeout=5):
                return
        except OSError as error:
            reason = error.strerror or str(error)
        now = time.monotonic()
        message = f"waiting for the process with rank 0 of {place.count} at {place.host}:{place.port} ({reason})"
        if now >= started + LIMIT:
            raise UserError(f"ended after {LIMIT:.0f} seconds of {message}; {place.advice}")
        if now >= tell_at:
            logger.warning("%s; %s", message, place.advice)
            tell_at = now + TOLD_EVERY
        time.sleep(0.1)
