"""The processes of a run as others on the same machine see them: running, stopped or ended."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path

import attrs
import psutil


@attrs.frozen
class Peer:
    """One process of a run."""

    rank: int
    """Rank of the process, from 0."""
    machine: str
    """The result of `machine` in the process."""
    pid: int
    """The process ID."""
    host: str = ""
    """The name of the machine, for messages."""

    @classmethod
    def own(cls, rank: int) -> Peer:
        """The calling process."""
        return cls(rank, machine(), os.getpid(), socket.gethostname())

    def find(self) -> psutil.Process | None:
        """The `psutil.Process` of the peer, which must run on this machine; None if it has ended."""
        try:
            return psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            return None


def alive(process: psutil.Process | None) -> bool:
    """Whether a process from `Peer.find` still runs; False for None."""
    try:
        # `is_running` detects that the pid of an ended process belongs to another process by now. A comparison of
        # start times would fail, because they change when the machine's clock is set.
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stopped(process: psutil.Process | None) -> bool:
    """Whether a process from `Peer.find` is stopped, by a signal such as SIGSTOP or by a debugger; False for None."""
    try:
        return process is not None and process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.NoSuchProcess:
        return False


def machine() -> str:
    """An identifier that is equal for processes that can find each other by pid: the boot and the PID namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # Other systems than Linux have no PID namespaces.
        return platform.node()
