"""Tests of the CPU processes that `accelerate launch` was asked for and did not start."""

from __future__ import annotations

import logging
import signal
from argparse import Namespace

import pytest
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from auxar.distributed import launch
from auxar.distributed.signals import PEER_DIED

LAUNCH = ["/usr/bin/python", "/usr/bin/accelerate", "launch", "--cpu"]


@pytest.mark.parametrize(
    ("parent", "environment", "count"),
    [
        ([*LAUNCH, "--num_processes", "3", "-m", "auxar"], {"ACCELERATE_USE_CPU": "true"}, 3),
        ([*LAUNCH, "--num-processes=2", "-m", "auxar"], {"ACCELERATE_USE_CPU": "1"}, 2),
        ([*LAUNCH, "--num_processes=1", "-m", "auxar"], {"ACCELERATE_USE_CPU": "True"}, 0),
        ([*LAUNCH, "--num_processes", "two"], {"ACCELERATE_USE_CPU": "true"}, 0),
        ([*LAUNCH, "--num_processes"], {"ACCELERATE_USE_CPU": "true"}, 0),
        ([*LAUNCH, "-m", "auxar"], {"ACCELERATE_USE_CPU": "true"}, 0),
        (["bash", "--num_processes=2"], {"ACCELERATE_USE_CPU": "true"}, 0),
        ([*LAUNCH, "--num_processes=2"], {"ACCELERATE_USE_CPU": "false"}, 0),
        ([*LAUNCH, "--num_processes=2"], {}, 0),
        ([*LAUNCH, "--num_processes=2"], {"ACCELERATE_USE_CPU": "true", "RANK": "0"}, 0),
    ],
)
def test_missing_processes_are_counted(parent, environment, count):
    assert launch.missing_processes(environment, parent) == count


def failed(code: int) -> ChildFailedError:
    failure = ProcessFailure(local_rank=1, pid=77, exitcode=code, error_file="<N/A>")
    return ChildFailedError("auxar", {1: failure})


@pytest.mark.parametrize(
    ("end", "status", "message", "threads", "expected"),
    [
        (None, 0, "", {}, "3"),
        (failed(4), 4, "", {"OMP_NUM_THREADS": "5"}, "5"),
        (failed(-9), PEER_DIED, "auxar: the process with rank 1 of 2 (pid 77) was ended by SIGKILL\n", {}, "3"),
        (SignalException("", signal.SIGTERM), 143, "", {}, "3"),
    ],
)
def test_missing_processes_are_started_with_their_share_of_the_cpus(
    monkeypatch, caplog, capsys, end, status, message, threads, expected
):
    started: list[Namespace] = []

    def run(options: Namespace) -> None:
        started.append(options)
        if end is not None:
            raise end

    monkeypatch.setattr("torch.distributed.run.run", run)
    monkeypatch.setattr(launch, "missing_processes", lambda environment, parent: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    caplog.set_level(logging.NOTSET, "torch.distributed.elastic")  # The level is restored after the test.
    environment = {"ACCELERATE_USE_CPU": "true", **threads}
    monkeypatch.setattr("os.environ", environment)
    assert launch.start_missing_processes(["run", "x.toml", "--out", "y"]) == status
    assert environment["OMP_NUM_THREADS"] == expected
    (options,) = started
    assert (options.standalone, options.nproc_per_node, options.module) == (True, "2", True)
    assert [options.training_script, *options.training_script_args] == ["auxar", "run", "x.toml", "--out", "y"]
    assert capsys.readouterr().err == message


def test_nothing_is_started_if_no_processes_are_missing():
    assert launch.start_missing_processes(["run", "x.toml"]) is None
