"""Tests that several processes give the same results as one process, and that they report the death of one of them."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from helpers.evaluations import figures_of
from helpers.killing import wait_for
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
    write,
)

from auxar.commands.evaluate import evaluate
from auxar.commands.sample import sample
from auxar.files import read_tensors
from auxar.numerics.threads import threads

CHANGES = {
    "training__steps": 5,
    "training__augment": ["flip", {"name": "shift", "pixels": 2}],
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
    return folder / "shared"


@pytest.fixture(scope="module")
def alone(shared, pictures) -> Path:
    """A run of the recipe of `shared`, made by one process."""
    return run(shared.with_name("alone"), tiny(pictures, **CHANGES))


def near(table: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Returns the table with each float replaced by an approximation of this relative tolerance."""
    return {
        key: pytest.approx(value, rel=tolerance, abs=0) if isinstance(value, float) else value
        for key, value in table.items()
    }


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


def test_evaluation_is_that_of_one_process(shared):
    figures, (tensors, metadata) = figures_of(shared), read_tensors(shared / "evaluation.safetensors")
    # With 17 training and 6 held-out images, the processes evaluate different numbers of images.
    assert figures["images"] == {"heldout": 6, "training": 12}
    with threads(1):  # As each process has. The last bits of sums depend on the number of threads.
        evaluate(shared)
    by_one, facts = read_tensors(shared / "evaluation.safetensors")
    assert (figures_of(shared), facts) == (figures, metadata)
    assert same(by_one, tensors)


def test_images_are_those_of_one_process(shared, tmp_path):
    sample(shared, out=tmp_path / "samples")
    by_one = pictures_in(tmp_path / "samples")
    assert len(by_one) == 5 + 2
    by_two = pictures_in(shared / "samples")
    # Only `auxar run` draws the sheet of held-out images.
    assert by_two.pop("heldout.png")
    assert by_two == by_one


# Mistakes, death and other numbers of processes


def workers_of(process: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """Returns the worker processes of a launched run by rank."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.environ().get("TORCHELASTIC_RUN_ID") and child.environ().get("RANK"):
            found[int(child.environ()["RANK"])] = child
    return found


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
    wait_for(lambda: any(tmp_path.glob("run/factors/prior/training*")), process)
    workers = workers_of(process)
    assert sorted(workers) == [0, 1]
    workers[1].kill()
    seconds, errors = ended(process)
    assert seconds < 30
    assert process.returncode != 0
    assert "auxar: the connection to another process broke" in errors or "auxar: ended by SIGTERM" in errors
    assert f"exitcode  : -9 (pid: {workers[1].pid})" in errors
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers.values())


@pytest.mark.slow
def test_processes_asked_to_end_save_together(pictures, tmp_path):
    recipe, out = write(tmp_path / "tiny.toml", tiny(pictures, **CHANGES)), tmp_path / "run"
    started = several(2, "float32", ["run", recipe, "--out", out, "--set", "training.steps=5000"])
    process = subprocess.Popen(started, env=process_environment(), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any(out.glob("factors/prior/metrics.jsonl")), process)
    process.send_signal(signal.SIGTERM)
    seconds, errors = ended(process)
    assert seconds < 15
    assert errors.count("auxar: ended by SIGTERM; if work was stored") == 2
    (state,) = out.glob("factors/prior/training*")
    assert 0 < json.loads(read_tensors(state)[1]["progress"])["step"] < 5000


def test_one_process_goes_on_where_two_were(shared, pictures, tmp_path):
    """The run of two processes is put into the state after step 3 of each factor."""
    folder = shutil.copytree(shared, tmp_path / "one")
    for factor in folder.glob("factors/*"):
        (factor / "weights.safetensors").unlink()
        (factor / "training-000000005.safetensors").unlink()
    (folder / "report.html").unlink()
    run(folder, tiny(pictures, **CHANGES))
    assert [line["step"] for line in metrics(folder)] == [1, 2, 2, 3, 4, 4, 5, 5] * 2
    for first, second in zip(metrics(shared), metrics(folder), strict=True):
        assert second == near(first, 1e-4)
    assert 0 < distance(weights(folder), weights(shared)) < 1e-3
