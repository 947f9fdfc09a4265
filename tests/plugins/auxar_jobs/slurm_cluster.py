"""Starts a Slurm of its own on this machine, with several nodes that are all this machine, for the tests of jobs.

It needs root, and the programs of Debian's packages slurm-wlm and munge.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
CONFIGURATION = """
ClusterName=auxar
SlurmctldHost={host}
SlurmUser=root
SlurmctldPort={first}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
SchedulerParameters=bf_interval=2,sched_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{port}-{last}] CPUs=1 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that are missing, and "root" if this is another user."""
    found = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    return found if os.getuid() == 0 else [*found, "root"]


class Cluster:
    """A running Slurm."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.nodes = nodes
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "MUNGE_SOCKET": str(folder / "munge.socket")}

    def call(self, *command: str) -> str:
        """Runs a command with this Slurm, and returns its output."""
        environment = {**os.environ, **self.environment, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout

    def _start(self) -> None:
        for name in ("state", "munge"):
            (self.folder / name).mkdir(mode=0o700)
        key = self.folder / "munge" / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        munge = {"socket": "munge.socket", "key-file": "munge/munge.key", "pid-file": "munge.pid"}
        munge |= {"log-file": "munge/munged.log", "seed-file": "munge/munge.seed"}
        self.call("munged", "--force", *(f"--{name}={self.folder / file}" for name, file in munge.items()))
        first = _free_ports(self.nodes + 1)
        ports = {"first": first, "port": first + 1, "last": first + self.nodes}
        text = CONFIGURATION.format(host=socket.gethostname(), folder=self.folder, nodes=self.nodes, **ports)
        (self.folder / "slurm.conf").write_text(text)
        self.call("slurmctld")
        self._wait_for("slurmctld")
        for node in range(1, self.nodes + 1):
            self.call("slurmd", "-N", f"n{node}")
        self._wait_for("slurmd")

    def _wait_for(self, program: str) -> None:
        ready = "idle" if program == "slurmd" else ""
        for _ in range(300):
            with contextlib.suppress(subprocess.SubprocessError):
                states = self.call("sinfo", "--noheader", "--Node", "--format=%t").split()
                if len(states) == self.nodes and all(ready in state for state in states):
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{program} does not answer; see {self.folder}")

    def _stop(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.call("scancel", "--me")
        for file in (*self.folder.glob("slurmd-*.pid"), self.folder / "slurmctld.pid", self.folder / "munge.pid"):
            _end(file)


def _end(file: Path) -> None:
    """Ends the process whose number is in a file, and waits for its end."""
    if file.exists():
        process = int(file.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, 15)
            for _ in range(300):
                os.kill(process, 0)
                time.sleep(0.1)


def _free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free."""
    for first in range(17000, 60000, count):
        with contextlib.suppress(OSError), contextlib.ExitStack() as used:
            for port in range(first, first + count):
                used.enter_context(socket.create_server(("", port)))
            return first
    raise RuntimeError("no ports are free")


@contextlib.contextmanager
def slurm(nodes: int = 3) -> Iterator[Cluster]:
    """Runs Slurm within the block, with `nodes` nodes of one core each, in a temporary folder."""
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), nodes)
        try:
            cluster._start()
            yield cluster
        finally:
            cluster._stop()
