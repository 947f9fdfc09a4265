"""Tests that several processes give the same results as one process, and that they report the death of one of them."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from helpers.evaluations import figures_of
from helpers.ranks import started_by_hand
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
from auxar.distributed.group import Team
from auxar.distributed.peers import Peer, alive, machine
from auxar.distributed.watchdog import _Watch
from auxar.files import read_tensors

CHANGES = {
    "training__steps": 5,
    "training__flip": True,
    "training__schedule": {"name": "exponential", "decay": 0.9},
    "training__accumulate": 2,
    "training__clip": 2.0,
    "training__checkpoint_every": 3,
    "training__evaluate_every": 2,
    "training__keep_best": True,
    "training__sample_every": 5,
    "data__limit": 23,
    "data__split__validation": 0.3,
    "sampling__images": 5,
    "evaluation": {"batch_size": 2},
}


def several(processes: int, dtype: str, *commands: list[str | Path]) -> list[str]:
    """Returns a command line that runs `auxar` commands one after the other in this number of processes."""
    words = [json.dumps([str(word) for word in arguments]) for arguments in commands]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [sys.executable, *launcher, str(PROJECT / "tests" / "helpers" / "several_commands.py"), dtype, *words]


@pytest.fixture(scope="module")
def shared(pictures, tmp_path_factory) -> Path:
    """A run made by two processes, without dropout, since its random masks depend on the number of processes."""
    folder = tmp_path_factory.mktemp("processes")
    recipe = write(folder / "tiny.toml", tiny(pictures, **CHANGES))
    done = call(command("run", recipe, "--out", "shared", processes=2), folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("report: ") == 1
    assert done.stderr.count("prior p(4×4×3): step 0 of ") == 1
    assert "\r" not in done.stderr
    assert done.stdout.count("bits/dim  ") == 1
    assert done.stderr.count(" bits/dim on 6 held-out images (") == 1
    return folder / "shared"


@pytest.fixture(scope="module")
def alone(shared, pictures) -> Path:
    """A run of the recipe of `shared`, made by one process."""
    return run(shared.with_name("alone"), tiny(pictures, **CHANGES))


def forgotten(run: Path, copy: Path) -> Path:
    """Copies a run, and puts the copy into the state after step 3 of each factor."""
    shutil.copytree(run, copy)
    for factor in copy.glob("factors/*"):
        (factor / "weights.safetensors").unlink()
        (factor / "training-000000005.safetensors").unlink()
    (copy / "report.html").unlink()
    return copy


@pytest.fixture(scope="module")
def by_four(shared) -> Path:
    """A copy of `shared` that four processes evaluated and sampled. They also continued another, unfinished copy."""
    folder = shared.with_name("by four")
    shutil.copytree(shared, folder)
    more = forgotten(shared, shared.with_name("gone on by four"))
    recipe = shared.with_name("tiny.toml")
    commands = ["run", recipe, "--out", more], ["evaluate", folder], ["sample", folder, "--out", folder / "drawn"]
    done = call(several(4, "float32", *commands), shared.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Held-out images: ") == 1
    return folder


def near(table: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Returns the table with each float replaced by an approximation of this relative tolerance."""
    return {
        key: pytest.approx(value, rel=tolerance, abs=0) if isinstance(value, float) else value
        for key, value in table.items()
    }


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Uses one thread, as each of several processes does. The last bits of sums depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pictures_in(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in snapshot(folder).items() if name.endswith(".png")}


# Agreement with one process


def test_training_is_that_of_one_process(shared, alone):
    assert len(metrics(alone)) == 2 * (5 + 3)
    drawn = [sorted(path.relative_to(run) for path in run.glob("factors/*/*.png")) for run in (alone, shared)]
    assert len(drawn[0]) == 2
    assert drawn[0] == drawn[1]
    for first, second in zip(metrics(alone), metrics(shared), strict=True):
        assert second == near(first, 1e-4)
    # A step moves each weight by up to the learning rate, and rounding may change the sign of a gradient near zero.
    assert distance(weights(shared), weights(alone)) < 1e-3
    first, second = weights(alone), weights(shared)
    apart = sum((first[name] - second[name]).abs().sum().item() for name in first)
    assert apart / sum(tensor.numel() for tensor in first.values()) < 1e-5


@pytest.fixture(scope="module")
def one_step(pictures, tmp_path_factory) -> Path:
    """A folder with a recipe of one step and its run in float64, made by one process."""
    folder = tmp_path_factory.mktemp("gradients")
    changes = {**CHANGES, "training__steps": 1, "training__clip": None, "training__sample_every": None}
    changes["sampling__images"] = 0
    recipe = write(folder / "tiny.toml", tiny(pictures, **changes))
    done = call(several(1, "float64", ["run", recipe, "--out", folder / "1"]), folder)
    assert done.returncode == 0, done.stderr
    return folder


def gradient(run: Path) -> dict[str, torch.Tensor]:
    """Returns the gradient of a run of one step: ten times Adam's first moment, since β₁ = 0.9."""
    return {name: 10 * tensor for name, tensor in weights(run, "training").items() if name.endswith(".exp_avg")}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_the_gradient_is_that_of_one_process(one_step, processes):
    """In float64, gradients of the same batch differ by less than 1e-12 of the gradient's norm."""
    out = one_step / str(processes)
    done = call(several(processes, "float64", ["run", one_step / "tiny.toml", "--out", out]), one_step)
    assert done.returncode == 0, done.stderr
    alone = gradient(one_step / "1")
    norm = torch.stack([tensor.norm() for tensor in alone.values()]).norm().item()
    assert norm > 1
    assert all(tensor.dtype == torch.float64 for tensor in alone.values())
    assert distance(gradient(out), alone) < 1e-12 * norm


def evaluation(run: Path) -> tuple[Any, ...]:
    """Returns the evaluation of a run: the table, the tensors with the nats of single images, and their metadata."""
    return figures_of(run), *read_tensors(run / "evaluation.safetensors")


def assert_equal(first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    """Asserts that two evaluations are equal to the last bit."""
    assert first[0] == second[0]
    assert same(first[1], second[1])
    assert first[2] == second[2]


def test_evaluation_is_that_of_one_process(shared):
    by_two = evaluation(shared)
    # With 17 training and 6 held-out images, the processes evaluate different numbers of images.
    assert by_two[0]["images"] == {"heldout": 6, "training": 12}
    with one_thread():
        evaluate(shared)
    assert_equal(by_two, evaluation(shared))


def test_images_are_those_of_one_process(shared, tmp_path):
    sample(shared, out=tmp_path / "samples")
    by_one = pictures_in(tmp_path / "samples")
    assert len(by_one) == 5 + 2
    by_two = pictures_in(shared / "samples")
    # Only `auxar run` draws the sheet of held-out images.
    assert by_two.pop("heldout.png")
    assert by_two == by_one


@pytest.mark.slow
def test_four_processes_do_what_two_do(shared, by_four):
    assert_equal(evaluation(by_four), evaluation(shared))
    # Only a run also shows held-out images.
    expected = pictures_in(shared / "samples")
    assert expected.pop("heldout.png")
    assert pictures_in(by_four / "drawn") == expected
    assert_gone_on(by_four.with_name("gone on by four"), shared)


@pytest.mark.slow
def test_recomputation_by_two_processes_changes_nothing(shared, pictures):
    """Also with dropout: each process draws the masks of a block again when the block is recomputed."""
    recipe = write(shared.with_name("dropout.toml"), with_dropout(tiny(pictures, **{**CHANGES, "sampling__images": 0})))
    folders = [shared.with_name("kept"), shared.with_name("recomputed")]
    commands: list[list[str | Path]] = [
        ["run", recipe, "--out", folder, "--set", f"training.recompute={value}"]
        for folder, value in zip(folders, ("false", "true"), strict=True)
    ]
    done = call(several(2, "float32", *commands), shared.parent)
    assert done.returncode == 0, done.stderr
    kept, recomputed = (weights(folder, "training") for folder in folders)
    assert same(kept, recomputed)
    assert metrics(folders[0]) == metrics(folders[1])


# Factors trained by separate processes


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
        assert time.monotonic() < until, "the other process does not train"
        time.sleep(0.01)
    update(average)

WeightAverage.update = meeting
from auxar import hookimpl

AUXAR_INTERFACE = 1

@hookimpl
def auxar_register_components():
    return []
"""
"""A plugin that makes each of two processes wait until the other one is training too."""


@pytest.mark.slow
def test_factors_trained_at_the_same_time_are_those_trained_one_after_the_other(pictures, tmp_path):
    # Two processes could not share a batch of 3 images.
    table = with_dropout(tiny(pictures, **CHANGES, training__batch_size=3))
    (tmp_path / "meeting.py").write_text(MEETING)
    recipe = write(tmp_path / "tiny.toml", {**table, "plugins": ["meeting.py"]})
    options = ["--trust-plugins", "--set", "training.parallel=factors"]
    done = call(command("run", recipe, "--out", tmp_path / "apart", *options, processes=2), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "process 0 of 2 trains stage0\nprocess 1 of 2 trains prior\n" in done.stderr
    with one_thread():
        one_by_one = run(tmp_path / "one by one", table)
    assert same(weights(tmp_path / "apart"), weights(one_by_one))
    assert same(weights(tmp_path / "apart", "training"), weights(one_by_one, "training"))
    assert metrics(tmp_path / "apart") == metrics(one_by_one)
    assert pictures_in(tmp_path / "apart" / "samples") == pictures_in(one_by_one / "samples")
    assert {path.name for path in tmp_path.glob("training *")} == {"training 0", "training 1"}


def test_a_process_that_trains_factors_apart_is_a_team_of_its_own():
    calls = []
    accelerator: Any = SimpleNamespace(
        process_index=2,
        num_processes=4,
        device=torch.device("cpu"),
        reduce=lambda tensor, reduction: tensor + (1 if reduction == "mean" else 0),
        wait_for_everyone=lambda: calls.append("wait"),
    )
    together, apart = Team(accelerator), Team(accelerator, alone=True)
    assert [(team.rank, team.processes) for team in (together, apart)] == [(2, 4), (0, 1)]
    assert [team.mean([1.0, 2.0]) for team in (together, apart)] == [[2.0, 3.0], [1.0, 2.0]]
    apart.wait()
    assert not calls
    together.wait()
    assert calls == ["wait"]


# Mistakes, death and other numbers of processes


@pytest.mark.slow
def test_a_mistake_is_told_and_ends_all_processes(shared, pictures):
    recipe = write(shared.with_name("odd.toml"), tiny(pictures, training__batch_size=3))
    done = call(command("run", recipe, "--out", "odd", processes=2), shared.parent)
    assert done.returncode != 0
    assert "auxar: training.batch_size: 3 is not divisible by the number of processes, 2; use a multiple" in done.stderr


def workers_of(process: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """Returns the worker processes of a launched run by rank."""
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
    """Waits for a process to end. Returns the seconds that this took, and the process's standard error."""
    started = time.monotonic()
    try:
        _, errors = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return time.monotonic() - started, errors


@pytest.mark.slow
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
    named = f"auxar: the process with rank 1 of 2 (pid {workers[1].pid})"
    assert f"{named} ended before the work was done; finished work is kept" in errors
    assert f"{named} was ended by SIGKILL" in errors
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers.values())


@pytest.mark.slow
def test_death_is_told_without_a_launcher_and_without_an_exchange(shared, tmp_path):
    """Processes that draw samples do not communicate, and without a launcher each must notice the death of others."""
    arguments = ["sample", shared, "-n", "1000000", "--out", tmp_path / "samples"]
    with started_by_hand(arguments, arguments, folders=[tmp_path] * 2) as (first, second):
        until = time.monotonic() + 120
        while not (tmp_path / "samples" / "images" / "000003.png").is_file():
            assert time.monotonic() < until
            assert first.poll() is second.poll() is None
            time.sleep(0.05)
        first.kill()
        seconds, errors = ended(second)
        assert seconds < 30
        assert second.returncode == 3
        assert f"auxar: the process with rank 0 of 2 (pid {first.pid}) ended before the work was done" in errors
        assert "Traceback" not in errors


@pytest.mark.slow
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
    assert errors.count("auxar: ended by SIGTERM; finished work is kept") == 2
    (state,) = out.glob("factors/prior/training*")
    step = int(read_tensors(state)[1]["step"])
    assert 0 < step < 5000


def assert_gone_on(folder: Path, shared: Path) -> None:
    """Asserts that a run that was finished by another number of processes is close to `shared`, but not identical."""
    assert [line["step"] for line in metrics(folder)] == [1, 2, 2, 3, 4, 4, 5, 5] * 2
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
    while alive(found) and time.monotonic() < until:  # Without a call of `wait`, the child stays a zombie.
        time.sleep(0.01)
    assert not alive(found)
    child.wait()
    assert not alive(found)
    assert not alive(Peer(1, machine(), child.pid).find())


def test_a_process_number_that_is_another_ones_by_now_is_dead():
    found = Peer.own(0).find()
    # Simulate a reused process ID: the found process started earlier than the process that now has its ID.
    found._ident = (found.pid, found._ident[1] - 1)
    assert not alive(found)


def test_a_broken_connection_without_a_dead_process_is_told():
    watch = _Watch([Peer.own(0)], Peer.own(1), 2)
    found = watch.explanation(torch.distributed.DistNetworkError("reset by peer"))
    assert str(found) == "the connection to another process broke (reset by peer)"
    assert watch.explanation(ValueError("reset by peer")) is None


def test_a_clock_that_is_set_kills_nobody(monkeypatch):
    """The start time of a process follows the system clock, which may be adjusted while the process trains."""
    watch = _Watch([Peer.own(0)], Peer.own(1), 2)
    started = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: started(process) + 3600)
    assert not watch._gone()
