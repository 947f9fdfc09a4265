"""Several real processes do what one does, and say so when one of them dies."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from helpers.tiny_runs import (
    PROJECT,
    call,
    command,
    distance,
    metrics,
    process_environment,
    run,
    same,
    snapshot,
    tiny,
    weights,
    with_dropout,
    write,
)

from auxar.commands.evaluate import evaluate
from auxar.commands.sample import sample
from auxar.distributed.watchdog import Peer, _Watch, alive, machine
from auxar.files import read_json, read_tensors

CHANGES = {
    "training__steps": 5,
    "training__flip": True,
    "training__decay": 0.9,
    "training__accumulate": 2,
    "training__clip": 2.0,
    "training__checkpoint_every": 3,
    "data__limit": 23,
    "sampling__images": 5,
    "evaluation": {"batch_size": 2},
}


def several(processes: int, dtype: str, *commands: list[str | Path]) -> list[str]:
    """A command that runs those of `auxar` in so many processes."""
    words = [json.dumps([str(word) for word in arguments]) for arguments in commands]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [sys.executable, *launcher, str(PROJECT / "tests" / "helpers" / "several_commands.py"), dtype, *words]


@pytest.fixture(scope="module")
def shared(pictures, tmp_path_factory) -> Path:
    """A run that two processes made, without dropout, whose draws would differ from one process's."""
    folder = tmp_path_factory.mktemp("processes")
    recipe = write(folder / "tiny.toml", tiny(pictures, **CHANGES))
    done = call(command("run", recipe, "--out", "shared", processes=2), folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("report: ") == 1
    assert done.stderr.count(" bits/dim on 6 held-out images (") == 1
    return folder / "shared"


@pytest.fixture(scope="module")
def alone(shared, pictures) -> Path:
    """The same run by one process."""
    return run(shared.with_name("alone"), tiny(pictures, **CHANGES))


def forgotten(run: Path, copy: Path) -> Path:
    """A copy of a run that has stopped after step 3 of each factor."""
    shutil.copytree(run, copy)
    for factor in copy.glob("factors/*"):
        (factor / "weights.safetensors").unlink()
        (factor / "training-000000005.safetensors").unlink()
    (copy / "report.html").unlink()
    return copy


@pytest.fixture(scope="module")
def by_four(shared) -> Path:
    """A copy of the run of two that four processes evaluated and drew from; beside it one they went on with."""
    folder = shared.with_name("by four")
    shutil.copytree(shared, folder)
    more = forgotten(shared, shared.with_name("gone on by four"))
    recipe = shared.with_name("tiny.toml")
    commands = ["evaluate", folder], ["sample", folder, "--out", folder / "drawn"], ["run", recipe, "--out", more]
    done = call(several(4, "float32", *commands), shared.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Held-out images: ") == 1
    return folder


def near(table: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """The table with figures that may be off by a share of themselves."""
    return {
        key: pytest.approx(value, rel=tolerance, abs=0) if isinstance(value, float) else value
        for key, value in table.items()
    }


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """As each of several processes has: sums are shared out to threads, and their last bits depend on how many."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pictures_in(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in snapshot(folder).items() if name.endswith(".png")}


# What one process does


def test_training_is_that_of_one_process(shared, alone):
    assert len(metrics(alone)) == 10
    for first, second in zip(metrics(alone), metrics(shared), strict=True):
        assert second == near(first, 1e-4)
    # Weights move by up to a learning rate a step; rounding may send a gradient near zero either way.
    assert distance(weights(shared), weights(alone)) < 1e-3
    first, second = weights(alone), weights(shared)
    apart = sum((first[name] - second[name]).abs().sum().item() for name in first)
    assert apart / sum(tensor.numel() for tensor in first.values()) < 1e-5


@pytest.fixture(scope="module")
def one_step(pictures, tmp_path_factory) -> Path:
    """A folder with the recipe of one step, and the run in float64 that one process made of it."""
    folder = tmp_path_factory.mktemp("gradients")
    changes = {**CHANGES, "training__steps": 1, "training__clip": None, "sampling__images": 0}
    recipe = write(folder / "tiny.toml", tiny(pictures, **changes))
    done = call(several(1, "float64", ["run", recipe, "--out", folder / "1"]), folder)
    assert done.returncode == 0, done.stderr
    return folder


def gradient(run: Path) -> dict[str, torch.Tensor]:
    """After one step Adam's first moment is a tenth of the gradient."""
    return {name: 10 * tensor for name, tensor in weights(run, "training").items() if name.endswith(".exp_avg")}


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_gradient_is_that_of_one_process(one_step, processes):
    """Gradients of the same batch in float64 agree: relative to its norm to 1e-12."""
    out = one_step / str(processes)
    done = call(several(processes, "float64", ["run", one_step / "tiny.toml", "--out", out]), one_step)
    assert done.returncode == 0, done.stderr
    alone = gradient(one_step / "1")
    norm = torch.stack([tensor.norm() for tensor in alone.values()]).norm().item()
    assert norm > 1
    assert all(tensor.dtype == torch.float64 for tensor in alone.values())
    assert distance(gradient(out), alone) < 1e-12 * norm


def evaluation(run: Path) -> tuple[Any, ...]:
    """The table, the nats of single images, and what is said of them."""
    return read_json(run / "evaluation.json"), *read_tensors(run / "evaluation.safetensors")


def assert_equal(first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    """To the last bit."""
    assert first[0] == second[0]
    assert same(first[1], second[1])
    assert first[2] == second[2]


def test_evaluation_is_that_of_one_process(shared):
    by_two = evaluation(shared)
    # 17 training and 6 held-out images: the processes' parts differ in length.
    assert by_two[0]["images"] == {"heldout": 6, "training": 17}
    with one_thread():
        evaluate(shared)
    assert_equal(by_two, evaluation(shared))


def test_images_are_those_of_one_process(shared, tmp_path):
    sample(shared, out=tmp_path / "samples")
    by_one = pictures_in(tmp_path / "samples")
    assert len(by_one) == 5 + 2
    assert pictures_in(shared / "samples") == by_one


@pytest.mark.slow
def test_four_processes_do_what_two_do(shared, by_four):
    assert_equal(evaluation(by_four), evaluation(shared))
    assert pictures_in(by_four / "drawn") == pictures_in(shared / "samples")
    assert_gone_on(by_four.with_name("gone on by four"), shared)


# Each factor by a process of its own


MEETING = """
import os
import time
from pathlib import Path

from auxar.training.averaging import WeightAverage

update = WeightAverage.update

def meeting(average):
    rank = int(os.environ["RANK"])
    Path(f"training {rank}").touch()
    until = time.monotonic() + 60
    while not Path(f"training {1 - rank}").exists():
        assert time.monotonic() < until, "one waits for the other"
        time.sleep(0.01)
    update(average)

WeightAverage.update = meeting
AUXAR_INTERFACE = 2
"""
"""A plugin by which each of two processes is in the middle of training before the other one goes on."""


def test_factors_trained_at_the_same_time_are_those_trained_one_after_the_other(pictures, tmp_path):
    # A batch that two processes could not share.
    table = with_dropout(tiny(pictures, **CHANGES, training__batch_size=3))
    (tmp_path / "meeting.py").write_text(MEETING)
    recipe = write(tmp_path / "tiny.toml", {**table, "plugins": ["meeting.py"]})
    settings = ["--set", "training.parallel=factors"]
    done = call(command("run", recipe, "--out", tmp_path / "apart", *settings, processes=2), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "process 0 of 2 trains stage0\nprocess 1 of 2 trains prior\n" in done.stderr
    with one_thread():
        one_by_one = run(tmp_path / "one by one", table)
    assert same(weights(tmp_path / "apart"), weights(one_by_one))
    assert same(weights(tmp_path / "apart", "training"), weights(one_by_one, "training"))
    assert metrics(tmp_path / "apart") == metrics(one_by_one)
    assert pictures_in(tmp_path / "apart" / "samples") == pictures_in(one_by_one / "samples")
    assert {path.name for path in tmp_path.glob("training *")} == {"training 0", "training 1"}


# Mistakes, death and other numbers of processes


@pytest.mark.slow
def test_a_mistake_is_told_and_ends_all_processes(shared, pictures):
    recipe = write(shared.with_name("odd.toml"), tiny(pictures, training__batch_size=3))
    done = call(command("run", recipe, "--out", "odd", processes=2), shared.parent)
    assert done.returncode != 0
    assert "auxar: training.batch_size: 3 images cannot be shared evenly by 2 processes; use 2 or 4" in done.stderr


def workers_of(process: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """The processes of a run by rank."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.environ().get("TORCHELASTIC_RUN_ID") and child.environ().get("RANK"):
            found[int(child.environ()["RANK"])] = child
    return found


def wait_for_checkpoint(out: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not any(out.glob("factors/prior/training*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)


def ended(process: subprocess.Popen[str], seconds: float = 30) -> tuple[float, str]:
    """Seconds until it has ended, and what it said."""
    started = time.monotonic()
    try:
        _, errors = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return time.monotonic() - started, errors


def test_the_death_of_a_process_ends_the_others_and_is_told(pictures, tmp_path):
    recipe = write(tmp_path / "tiny.toml", tiny(pictures, **CHANGES))
    settings = ["training.steps=1000000", "training.checkpoint_every=5"]
    started = command("run", recipe, "--out", tmp_path / "run", "--set", *settings, processes=2)
    process = subprocess.Popen(started, env=process_environment(), stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    wait_for_checkpoint(tmp_path / "run", process)
    workers = workers_of(process)
    assert sorted(workers) == [0, 1]
    workers[1].kill()
    seconds, errors = ended(process)
    assert seconds < 30
    assert process.returncode != 0
    named = f"auxar: process 1 of 2 (pid {workers[1].pid})"
    assert f"{named} ended before its work was done; what is finished is kept" in errors
    assert f"{named} was ended by SIGKILL" in errors
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers.values())


@pytest.mark.slow
def test_death_is_told_without_a_launcher_and_without_an_exchange(shared, tmp_path):
    """Processes that draw do not hear of each other, and nobody but they themselves sees the dead."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    arguments = command("sample", shared, "-n", "1000000", "--out", tmp_path / "samples")
    first, second = (
        subprocess.Popen(
            arguments,
            env=process_environment(**place, RANK=str(rank), LOCAL_RANK=str(rank)),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    )
    try:
        until = time.monotonic() + 120
        while not (tmp_path / "samples" / "images" / "000003.png").is_file():
            assert time.monotonic() < until
            assert first.poll() is second.poll() is None
            time.sleep(0.05)
        first.kill()
        seconds, errors = ended(second)
        assert seconds < 30
        assert second.returncode == 3
        assert f"auxar: process 0 of 2 (pid {first.pid}) ended before its work was done" in errors
        assert "Traceback" not in errors
    finally:
        first.kill()
        second.kill()
        first.communicate()


def test_processes_asked_to_end_save_together(pictures, tmp_path):
    recipe = write(tmp_path / "tiny.toml", tiny(pictures, **CHANGES))
    out = tmp_path / "run"
    started = several(2, "float32", ["run", recipe, "--out", out, "--set", "training.steps=5000"])
    process = subprocess.Popen(started, env=process_environment(), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not any(out.glob("factors/prior/metrics.jsonl")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    seconds, errors = ended(process)
    assert seconds < 15
    assert errors.count("auxar: ended by SIGTERM; what is finished is kept") == 2
    (state,) = out.glob("factors/prior/training*")
    step = int(read_tensors(state)[1]["step"])
    assert 0 < step < 5000


def assert_gone_on(folder: Path, shared: Path) -> None:
    """A run that others have finished is near the one of two processes, and not the very same."""
    assert [line["step"] for line in metrics(folder)] == [1, 2, 3, 4, 5] * 2
    for first, second in zip(metrics(shared), metrics(folder), strict=True):
        assert second == near(first, 1e-4)
    assert 0 < distance(weights(folder), weights(shared)) < 1e-3


def test_one_process_goes_on_where_two_were(shared, pictures, tmp_path):
    folder = forgotten(shared, tmp_path / "one")
    run(folder, tiny(pictures, **CHANGES))
    assert_gone_on(folder, shared)


def test_a_process_that_has_ended_is_dead():
    assert alive(Peer.own(0).find())
    child = subprocess.Popen([sys.executable, "-c", ""])
    found = Peer(1, machine(), child.pid).find()
    until = time.monotonic() + 30
    while alive(found) and time.monotonic() < until:  # Nobody waits for it: it is a zombie in the end.
        time.sleep(0.01)
    assert not alive(found)
    child.wait()
    assert not alive(found)
    assert not alive(Peer(1, machine(), child.pid).find())


def test_a_process_number_that_is_another_ones_by_now_is_dead():
    found = Peer.own(0).find()
    # As if the process that was found had been started before the one that has its number.
    found._ident = (found.pid, found._ident[1] - 1)
    assert not alive(found)


def test_a_clock_that_is_set_kills_nobody(monkeypatch):
    """When a process was started is told by the machine's clock, which may be put right while the process trains."""
    watch = _Watch([Peer.own(0)], 1)
    started = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: started(process) + 3600)
    assert not watch._gone()
