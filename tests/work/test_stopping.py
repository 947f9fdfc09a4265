"""Tests that a killed or interrupted run ends with the same results, and that only one process works on a run."""

import functools
import json
import os
import random
import re
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.killing import wait_for
from helpers.tiny_runs import (
    assert_same_training,
    command,
    metrics,
    process_environment,
    run,
    same,
    tiny,
    weights,
    with_dropout,
    write,
)
from PIL import Image

from auxar.commands.run import run as run_recipe
from auxar.files import read_json, read_tensors
from auxar.work.signals import TOGETHER, Interrupted, between_steps, heeding_signals, requests

CHANGES = {
    "training__steps": 40,
    "training__augment": ["flip"],
    "training__schedule": {"name": "exponential", "decay": 0.99},
    "training__accumulate": 2,
    "training__clip": 1.0,
    "training__checkpoint_every": 3,
    "training__log_every": 5,
    "sampling__images": 6,
    "sampling__batch_size": 2,
    "arithmetic": {"name": "integer"},
}
MOMENTS = 24
"""Number of times that the long test kills a run."""


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    return run(tmp_path_factory.mktemp("whole") / "run", with_dropout(tiny(pictures, **CHANGES)))


@pytest.fixture
def recipe(pictures, tmp_path) -> Path:
    return write(tmp_path / "recipe.toml", with_dropout(tiny(pictures, **CHANGES)))


def started(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Starts `auxar` as a separate process with the signal handlers that it has when it is started from a terminal."""
    heed = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command(*arguments), env=process_environment(), preexec_fn=heed, **options)


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": read_tensors,
    ".json": read_json,
    ".png": lambda file: Image.open(file).load(),
    ".jsonl": lambda file: [json.loads(line) for line in file.read_text().splitlines()],
    ".html": lambda file: file.read_text().index("</html>\n"),
    ".toml": lambda file: tomllib.loads(file.read_text())["training"],
}


def check_whole(folder: Path) -> None:
    """Asserts that every file of a run, apart from temporary `.part` files, is complete and readable."""
    for file in folder.rglob("*"):
        if file.is_file():
            READERS.get(file.suffix, Path.exists)(file)


def contents(folder: Path) -> dict[str, Any]:
    """Returns the contents of a finished run without times."""
    samples = read_json(folder / "samples" / "samples.json")
    del samples["seconds"]
    assert not list(folder.rglob("*.part"))
    assert not (folder / ".lock.json").exists()
    return {
        "digests": [each["digest"] for each in read_json(folder / "integer.json")["factors"].values()],
        "samples": samples,
        "recipe": (folder / "recipe.toml").read_bytes(),
        # A process that was killed when it had just trained a factor has left its note beside the lock.
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".lock.json"),
        **{file.name: file.read_bytes() for file in folder.glob("samples/**/*.png")},
    }


def assert_same(first: Path, second: Path) -> None:
    """Asserts that two runs are equal to the last bit."""
    assert_same_training(first, second)
    assert same(weights(first, "integer"), weights(second, "integer"))
    assert contents(first) == contents(second)
    for name in ("evaluation.safetensors", "evaluation-integer.safetensors"):
        (tensors, facts), (others, other_facts) = (read_tensors(run / name) for run in (first, second))
        assert same(tensors, others)
        assert facts == other_facts


def finished_factors(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns the inode and the modification time of each trained factor's weights."""
    stats = {file.parent.name: file.stat() for file in folder.glob("factors/*/weights.safetensors")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


# Killed

PLACES: dict[str, Callable[[Path], bool]] = {
    "beginning": lambda out: out.is_dir(),
    "training": lambda out: any(out.glob("factors/prior/metrics.jsonl")),
    "checkpointing": lambda out: any(out.glob("factors/*/.training*.part")),
    "the other factor": lambda out: any(out.glob("factors/stage0/training*")),
    "evaluation": lambda out: (out / "factors" / "stage0" / "weights.safetensors").is_file(),
    "conversion": lambda out: (out / "factors" / "stage0" / "integer.safetensors").is_file(),
    "evaluation in integers": lambda out: (out / "evaluation-integer.safetensors").is_file(),
    "sampling": lambda out: any(out.glob("samples/images/000001.png")),
    "report": lambda out: (out / "samples" / "samples.json").is_file(),
}


def kill(recipe: Path, out: Path, place: str, delay: float) -> bool:
    """Starts or continues a run, and kills it `delay` seconds after it has reached `place`. Returns whether the run was
    still in progress then."""
    before = finished_factors(out)
    process = started("run", recipe, "--out", out, stderr=subprocess.DEVNULL)
    wait_for(lambda: PLACES[place](out), process)
    time.sleep(delay)
    process.kill()
    in_time = process.wait() == -signal.SIGKILL
    for left in out.rglob("*.part"):
        os.utime(left, (0, 0))  # As if the run went on hours later.
    check_whole(out)
    after = finished_factors(out)
    assert {name: after[name] for name in before} == before, "a finished factor was trained again"
    return in_time


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_runs_killed_at_many_moments(recipe, whole, tmp_path, seed):
    """Kills runs at many moments. A new run is started whenever one ends, so that all parts of a run are covered."""
    moments = random.Random(seed)
    places = [*PLACES, *(moments.choice(list(PLACES)) for _ in range(MOMENTS - len(PLACES)))]
    times, number = 0, 0
    for place in sorted(places, key=list(PLACES).index):
        out = tmp_path / f"run{number}"
        if not kill(recipe, out, place, moments.uniform(0, 0.25)):
            assert_same(out, whole)
            number += 1
            continue
        times += 1
    assert times >= MOMENTS * 3 // 4
    run_recipe(recipe, out=tmp_path / f"run{number}")
    assert_same(tmp_path / f"run{number}", whole)


# Requests to end


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_training_that_is_asked_to_end_saves_and_says_so(recipe, tmp_path, number, code):
    out = tmp_path / "run"
    # No regular checkpoint is due, so the checkpoint was saved because of the signal.
    settings = ["training.checkpoint_every=100000", "data.workers=1"]
    process = started("run", recipe, "--out", out, "--set", *settings)
    wait_for(lambda: any(out.glob("factors/prior/metrics.jsonl")), process)
    started_at = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert time.monotonic() - started_at < 10
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].endswith("is kept, and the same command continues from it")
    (state,) = out.glob("factors/prior/training-*.safetensors")
    assert not list(out.glob("factors/prior/weights*"))
    check_whole(out)
    assert not list(out.rglob("*.part"))
    assert 0 < json.loads(read_tensors(state)[1]["progress"])["step"] < 40
    # The stop may fall between two lines of metrics, so the next line is the mean of steps from before and after it.
    run_recipe(recipe, out=out, settings=settings, only=["prior"])
    reference = run_recipe(recipe, out=tmp_path / "reference", settings=settings, only=["prior"])
    assert same(weights(out), weights(reference.path))
    assert metrics(out) == metrics(reference.path)


@pytest.mark.slow
def test_the_death_of_a_process_that_prepares_images_is_told(recipe, tmp_path):
    out = tmp_path / "run"
    settings = ["training.steps=100000", "training.log_every=1", "data.workers=1"]
    process = started("run", recipe, "--out", out, "--set", *settings)
    wait_for(lambda: any(out.glob("factors/prior/metrics.jsonl")), process)
    own = psutil.Process(process.pid)
    (worker,) = (child for child in own.children() if child.cmdline() == own.cmdline())
    worker.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert "Traceback" not in errors
    start = r"auxar: data\.workers: a data worker process has died \(DataLoader worker \(pid(\(s\))?"
    assert re.search(f"{start} {worker.pid}\\)", errors)
    assert errors.rstrip().endswith("is kept, and the same command continues from it")


@pytest.fixture
def told() -> Iterator[list[str]]:
    requests.last = None
    yield []
    requests.last = None
    assert requests.pending is None
    assert not requests.waiting


def test_a_second_signal_does_not_wait(told, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def work() -> None:
        with between_steps() as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked.pending is not None
            # A signal arrives twice if a launcher forwards a signal that the terminal already sent to this process.
            os.kill(os.getpid(), signal.SIGTERM)
            told.append("went on")
            clock[0] += TOGETHER
            os.kill(os.getpid(), signal.SIGINT)
            told.append("not reached")

    with pytest.raises(Interrupted):
        work()
    assert told == ["went on"]


def test_an_error_after_a_signal_is_its_consequence(told):
    def work(asked: bool) -> None:
        with between_steps():
            if asked:
                os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("a connection broke")

    with pytest.raises(Interrupted) as caught:
        work(asked=True)
    assert caught.value.code == 143
    with pytest.raises(RuntimeError):
        work(asked=False)


def test_a_signal_that_comes_twice_does_not_disturb_leaving(told):
    def work() -> None:
        with heeding_signals():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                told.append("left")

    with pytest.raises(Interrupted):
        work()
    assert told == ["left"]


def test_handlers_are_put_back(told):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with heeding_signals(), between_steps():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# Several processes at once


@pytest.mark.slow
def test_processes_with_one_folder_train_its_factors_and_share_the_rest(recipe, whole, tmp_path):
    """Each process trains a factor. Half of them are killed, and their factors are trained by the others."""
    out = tmp_path / "run"
    moments = random.Random(0)
    left = [started("run", recipe, "--out", out, stderr=subprocess.DEVNULL) for _ in range(4)]
    for place in ("training", "the other factor", "evaluation"):
        wait_for(functools.partial(PLACES[place], out), left[-1])
        time.sleep(moments.uniform(0, 0.2))
        victim = left.pop(moments.randrange(len(left)))
        victim.kill()
        victim.wait()
        for abandoned in out.rglob("*.part"):
            os.utime(abandoned, (0, 0))  # As if the next process started hours later.
        left.append(started("run", recipe, "--out", out, stderr=subprocess.DEVNULL))
    assert [process.wait(120) for process in left] == [0] * 4
    assert_same(out, whole)
