"""Exchanges small reports among the processes of a command, so that all of them start the same work or none does."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch.distributed
from accelerate.utils import gather_object
from torch.distributed import Store

from auxar.distributed.peers import Peer
from auxar.errors import UserError, shown
from auxar.plugins import INTERFACE_VERSION

logger = logging.getLogger("auxar")

TOLD_AFTER = 10.0
"""Seconds of waiting for other processes after which a message names them."""
TOLD_EVERY = 60.0
"""Seconds between two such messages."""
LINGER = 3.0
"""Maximum time, in seconds, that a process gives the others to read its last report before it ends."""
IF_IT_HANGS = "if it does not go on, end all processes, and start the same command again"
"""Advice about a process that others wait for while all of them prepare their work."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.25
"""Seconds between two looks for the reports of other processes. The pause grows while the process waits."""


@attrs.frozen
class Report:
    """The report of one process, made of values that JSON can represent."""

    facts: Mapping[str, Any] = attrs.field(factory=dict)
    """Values that must be equal in all processes, by the names that messages use."""
    error: str | None = None
    """The reason why the process cannot go on, if there is one."""
    own: Mapping[str, Any] = attrs.field(factory=dict)
    """Values that may differ between processes."""


def objection(reports: Mapping[int, Report], count: int) -> str | None:
    """The reason why processes with these reports cannot work together, or None.

    `reports` are the reports by rank; some of the `count` processes may be missing. The reason is the error of a
    process, or the first fact that differs, with its values.
    """
    ranks = sorted(reports)
    for rank in ranks:
        if (error := reports[rank].error) is not None:
            return f"the process with rank {rank} of {count} cannot go on: {error}"
    facts = reports[ranks[0]].facts
    for rank in ranks[1:]:
        others = reports[rank].facts
        for key in {**facts, **others}:
            if key not in facts or key not in others or facts[key] != others[key]:
                first = f"{key} = {shown(facts[key])}" if key in facts else f"no {key}"
                second = shown(others[key]) if key in others else "none"
                return (
                    f"the processes of this command differ: rank {ranks[0]} has {first}, rank {rank} has {second}; "
                    "start all processes with the same command, files and version of auxar"
                )
    return None


@attrs.define(eq=False)
class Processes:
    """The processes that work on a command, as one of them sees them."""

    rank: int = 0
    """Rank of this process, from 0."""
    count: int = 1
    """Number of processes."""
    store: Store | None = None
    """A key-value store that all processes can access. If it is None, reports are exchanged by collective operations,
    which wait without a message and fail after the time limit of the process group."""
    peers: Sequence[Peer] = ()
    """All processes, in the order of their ranks. The sequence is empty for a single process."""
    rounds: int = 0
    """Number of exchanges so far. It is equal in all processes, because they take part in the same exchanges."""

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
        if self.count > 1:
            try:
                self.exchange(Report(facts, None if failure is None else str(failure) or type(failure).__name__))
            except Exception:
                if failure is None:
                    raise
        if failure is not None:
            raise failure

    def greet(self, advice: str = IF_IT_HANGS, limit: float = math.inf) -> None:
        """Waits until every process calls this method, and sets `peers`.

        Raises `UserError` if the processes have different versions of auxar, or after `limit` seconds.
        """
        facts = {
            "WORLD_SIZE": self.count,
            "the version of auxar": importlib.metadata.version("auxar"),
            "the version of the plugin interfaces": INTERFACE_VERSION,
        }
        own = attrs.asdict(Peer.own(self.rank))
        self.peers = [Peer(**report.own) for report in self.exchange(Report(facts, own=own), advice, limit)]

    def exchange(self, report: Report, advice: str = IF_IT_HANGS, limit: float = math.inf) -> list[Report]:
        """Sends a report to all processes, and returns the reports of all processes in the order of their ranks.

        `advice` ends the message about the processes that this one waits for. Raises `UserError` if there is an
        `objection`, without waiting for the reports of the other processes, or after `limit` seconds of waiting.
        """
        self.rounds += 1
        if self.store is None:
            found = dict(enumerate(gather_object([report])))
        else:
            found = self._collect(self.store, str(self.rounds), report, advice, limit)
        if (reason := objection(found, self.count)) is not None:
            if self.store is not None:
                self._linger(self.store, str(self.rounds))
            raise UserError(reason)
        return [found[rank] for rank in range(self.count)]

    def _collect(self, store: Store, topic: str, report: Report, advice: str, limit: float) -> dict[int, Report]:
        """The reports by rank. Some may be missing if there is an objection to the others."""
        text = json.dumps(attrs.asdict(report))
        store.set(f"{topic}/{self.rank}", text)
        store.add(f"{topic}/sent", 1)
        found = {self.rank: Report(**json.loads(text))}  # Its values have the types that the others' values have.
        sent, pause = 0, SHORTEST_PAUSE
        started = time.monotonic()
        tell_at = started + TOLD_AFTER
        while len(found) < self.count and objection(found, self.count) is None:
            # The number of sent reports is read first, because it is one request for any number of processes.
            if (now_sent := store.add(f"{topic}/sent", 0)) > sent:
                sent = now_sent
                for rank in range(self.count):
                    if rank not in found and store.check([f"{topic}/{rank}"]):
                        found[rank] = Report(**json.loads(store.get(f"{topic}/{rank}")))
                continue
            now = time.monotonic()
            if now >= min(tell_at, started + limit):
                message = f"waiting for {self._names(found)}; {advice}"
                if now >= started + limit:
                    raise UserError(f"ended after {limit:.0f} seconds of {message}")
                if not self.peers or self.rank == min(found):  # One message of several processes is enough.
                    logger.warning(message)
                tell_at = now + TOLD_EVERY
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, 1.5 * pause)
        return found

    def _names(self, found: Mapping[int, Report]) -> str:
        """Names the processes without a report for a message."""
        missing = [rank for rank in range(self.count) if rank not in found]
        ranks = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
        pids = ", ".join(f"pid {peer.pid} on {peer.host}" for peer in self.peers if peer.rank in missing[:8])
        return f"the process{'es' * (len(missing) > 1)} with rank {ranks} of {self.count}{f' ({pids})' if pids else ''}"

    def _linger(self, store: Store, topic: str) -> None:
        """Waits until all processes know that they cannot go on, because the store may end with this process."""
        with contextlib.suppress(torch.distributed.DistError):
            store.add(f"{topic}/known", 1)
            until = time.monotonic() + LINGER
            while store.add(f"{topic}/known", 0) < self.count and time.monotonic() < until:
                time.sleep(SHORTEST_PAUSE)
