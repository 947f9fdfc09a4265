"""Tests of `auxar launch`: real processes on this machine, and the commands that it hands to Slurm."""

import functools
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from helpers.killing import wait_for
from helpers.tiny_runs import said

import auxar
from auxar.cli import main
from auxar_jobs import launch, slurm
from auxar_jobs.copies import Copies, Launched

FAKES = {
    "sbatch": 'cp "$1" "$FAKE/script"; test -z "$REFUSES" || { echo no such partition >&2; exit 1; }; echo job 7',
    "srun": "",
    "squeue": 'test "$*" = "--me --array --states=all --noheader --format=%i %T" || exit 1; '
    'n=$(cat "$FAKE/asked"); echo $((n + 1)) > "$FAKE/asked"; test $n -ge 3 || exit 1; cat "$FAKE/last"; '
    'test ! -e "$FAKE/next" || mv "$FAKE/next" "$FAKE/last"',
}
"""Programs of Slurm, in shell: the queue answers when it is asked for the fourth time, and may have a next answer."""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A folder for Slurm's programs, which are shell scripts here, and for what they are given."""
    for name, text in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "asked").write_text("0")
    monkeypatch.setenv("FAKE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    looks = itertools.count(1)

    def pause(seconds: float) -> None:
        assert next(looks) <= 9, "the jobs are waited for without end"

    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_job_on_this_machine_runs_the_command(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["launch", "--on", "local", "--", "recipes", "quickstart"]) == 0
    (log,) = tmp_path.glob("jobs/*/1.log")
    assert main(["recipes", "quickstart"]) == 0
    assert capfd.readouterr().out.split("1.log\n")[1] == log.read_text()


def test_jobs_on_this_machine_fail_with_their_messages_and_end_before_the_command_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = ["launch", "-n", "2", "--on", "local", "--", "recipes"]
    failing = functools.partial(subprocess.Popen, ["sh", "-c", "echo nothing is there; exit 2"])
    monkeypatch.setattr(Copies, "start", lambda copies, environment, **options: failing(**options))
    assert main(line) == 2
    first, _ = sorted(tmp_path.glob("jobs/*/*.log"))
    assert first.read_text() == "nothing is there\n"
    folder = first.parent.relative_to(tmp_path)
    told = f"job 1 (exit status 2): {folder}/1.log; job 2 (exit status 2): {folder}/2.log\n"
    assert capsys.readouterr().err.endswith(f"auxar: 2 of 2 jobs have failed; see their messages: {told}")
    saving = "trap 'sleep 0.2; echo saved; exit 143' TERM; echo ready; while true; do sleep 0.05; done"
    start = functools.partial(subprocess.Popen, ["sh", "-c", saving])
    monkeypatch.setattr(Copies, "start", lambda copies, environment, **options: start(**options))

    def interrupt() -> None:
        wait_for(lambda: [log.read_text() for log in tmp_path.glob("ended/*/*.log")] == ["ready\n"] * 2)
        time.sleep(0.2)  # A job may write before this process knows that it has started.
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    assert main([line[0], "--logs", "ended", *line[1:]]) == 130
    assert [log.read_text() for log in tmp_path.glob("ended/*/*.log")] == ["ready\nsaved\n"] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_job_that_slurm_ends_waits_for_it_and_a_checkpoint_gives_the_job_that_goes_on(monkeypatch, number):
    """Slurm puts a job that gives way to another one back into the queue only if the job does not end itself."""
    waits: list[float] = []
    monkeypatch.setattr(Copies, "start", lambda copies, environment: subprocess.Popen(["sleep", "60"]))
    monkeypatch.setattr(time, "sleep", waits.append)
    job, found = slurm.Job(Copies(("sample", "run"), 1, 0, None)), []
    before = signal.getsignal(signal.SIGTERM)
    usual = signal.signal(signal.SIGUSR2, lambda *_: found.append(job.checkpoint()))  # As submitit does.
    threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
    try:
        with pytest.raises(RuntimeError, match="`auxar sample run` has ended with the exit status -15"):
            job()
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGUSR2, usual)
    assert waits == [slurm.UNTIL_KILLED]
    assert [each.function for each in found] == [slurm.Job(job.copies)] * (number == signal.SIGUSR2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--", "evalute", "run"), "argument COMMAND: there is no 'evalute'; did you mean 'evaluate'?"),
        (("--on", "cloud", "--", "evaluate", "run"), "--on: expected slurm or local, got 'cloud'"),
        (("--", "--version"), "expected a command and its arguments, got '--version', which only prints information"),
        (("--logs", "a\nb", "--on", "local", "models"), "--logs: expected a folder without control characters in its"),
        (("-n", "0", "--on", "local", "--", "evaluate", "run"), "--jobs: expected an integer of at least 1, got 0"),
        (("--on", "local", "--time", "1:00", "--", "evaluate", "run"), "only jobs of Slurm have --time, --memory and"),
        (("--on", "local", "recipes", "quickstart", "-n", "2"), "auxar recipes: unexpected argument '-n'"),
        (("--on", "slurm", "--", "evaluate", "run"), "--time: expected the time limit of a job, such as 24:00:00; a"),
        (("--gpus-per-job", "9", "--on", "local", "--", "evaluate", "run"), "--gpus-per-job: the jobs need 9 GPUs"),
    ],
)
def test_wrong_calls_have_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["launch", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"auxar: {message}")
    assert not list(tmp_path.rglob("*.log"))


@pytest.mark.parametrize("wrong", [{"line": None}, {"jobs": 1.5}, {"wait": "no"}, {"cpus_per_job": 0}])
def test_a_wrong_value_is_named(wrong):
    with pytest.raises(auxar.UserError, match=f"^{min(wrong)}: expected "):
        launch(**{"line": ["models"], **wrong})


def test_slurm_needs_submitit(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "auxar_jobs.slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(auxar.UserError, match=r"need submitit, .*; install it with `pip install 'auxar\[launch\]'`$"):
        launch(["evaluate", "run"], on="slurm", time="30")


def test_slurm_gets_the_options_and_its_refusal_is_told(queue, monkeypatch):
    words = ["auxar", "evaluate", "run"]
    options: dict[str, Any] = {
        "gpus_per_job": 2,
        "cpus_per_job": 4,
        "memory": "64G",
        "slurm": ["job-name=x", "exclusive"],
    }
    found = launch(words, jobs=300, time="2-12", **options)  # Slurm is chosen because its programs are there.
    lines = (queue / "script").read_text().splitlines()
    for option in ("array=0-299%300", "requeue", "time=2-12", "gpus-per-node=2", "cpus-per-task=4", "mem=64G"):
        assert f"#SBATCH --{option}" in lines
    assert "#SBATCH --exclusive" in lines
    assert any("srun " in line and " --mpi=none " in line for line in lines)
    assert [line for line in lines if "job-name" in line] == ["#SBATCH --job-name=x"]
    assert found[299] == Launched("7_299", found[0].log.with_name("7_299_0_log.out"), "submitted")
    monkeypatch.setenv("REFUSES", "1")
    with pytest.raises(auxar.UserError, match=r"^Slurm does not accept the jobs: .*no such partition"):
        launch(words, on="slurm", time="30")


def test_a_job_that_slurm_forgets_after_its_end_is_not_lost(queue):
    (queue / "last").write_text("7_0 COMPLETED\n7_1 RUNNING\n")
    (queue / "next").write_text("7_1 COMPLETED\n")
    states = [job.state for job in launch(["evaluate", "run"], jobs=2, time="30", wait=True)]
    assert states == ["completed"] * 2


@pytest.mark.parametrize(
    ("last", "failed"),
    [("7_0 COMPLETED\n7_1 COMPLETED\n", ""), ("7_0 TIMEOUT\n", r"2 of 2 jobs .* 7_0 \(timeout\): .* 7_1 \(lost\): ")],
)
def test_the_end_of_jobs_is_waited_for_although_slurm_does_not_answer(queue, last, failed):
    (queue / "last").write_text(last)
    if failed:
        with pytest.raises(auxar.UserError, match=failed):
            launch(["evaluate", "run"], jobs=2, time="30", wait=True)
    else:
        found = launch(["evaluate", "run"], jobs=2, time="30", wait=True)
        assert [job.state for job in found] == ["completed"] * 2
    assert (queue / "asked").read_text() == "4\n"


def test_each_job_has_gpus_of_its_own_and_a_process_for_each(tmp_path, monkeypatch):
    started = []

    class Process(subprocess.Popen):
        def __init__(self, arguments, env, **options):
            started.append((arguments, env, options["stdin"]))
            super().__init__(["true"], **options)

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3,5,6,7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    launch(["evaluate", "run"], jobs=2, on="local", gpus_per_job=2, cpus_per_job=8, logs=tmp_path / "jobs")
    assert [env["CUDA_VISIBLE_DEVICES"] for _, env, _ in started] == ["0,3", "5,6"]
    assert {env["OMP_NUM_THREADS"] for _, env, _ in started} == {"4"}
    assert "cannot be made: File exists" in said(launch, ["evaluate", "run"], on="local", logs=__file__)
    words = "-m torch.distributed.run --standalone --nproc-per-node 2 -m auxar evaluate run"
    assert all(" ".join(arguments).endswith(words) for arguments, _, _ in started)
    assert {stdin for _, _, stdin in started} == {subprocess.DEVNULL}
