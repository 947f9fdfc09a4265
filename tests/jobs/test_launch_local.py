"""Tests of `auxar launch --on local`: real jobs that submitit starts on this machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.tiny_runs import call, command, process_environment, run, same, tiny, weights, write, write_pictures

import auxar
from auxar import UserError
from auxar.cli import main
from auxar.commands import launch_copies
from auxar.commands.launch_status import launch_status
from auxar.jobs.site import Site

STEPS = 300
# A plugin file: a prior whose training fails.
FAILING = """
import attrs
import torch

from auxar import Component, Prior, UserError, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class FailingConfig:
    \"\"\"Options of a prior that fails: none.\"\"\"


class Failing(Prior):
    def __init__(self, config, image):
        super().__init__()
        self.image = image
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def log_prob(self, image):
        raise UserError("this prior fails")

    def draw(self, request, sampler):
        raise UserError("this prior fails")


@hookimpl
def auxar_register_components():
    return [Component("prior", "failing", FailingConfig, Failing)]
"""


def wait_for(found, limit=300):
    end = time.monotonic() + limit
    while not found():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.05)


def state(folder, name):
    try:
        return json.loads((folder / "jobs" / f"{name}.json").read_text())
    except FileNotFoundError:
        return {"state": "none"}


def lines(folder, name):
    file = folder / "factors" / name / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_jobs_that_are_stopped_and_requeued_train_the_same_model(tmp_path):
    table = tiny(write_pictures(tmp_path / "pictures"), training__steps=STEPS, training__checkpoint_every=1000)
    recipe, folder = write(tmp_path / "recipe.toml", table), tmp_path / "launched"
    launch = command("launch", recipe, "--out", folder, "--on", "local", "--array-limit", "2")
    with subprocess.Popen(
        launch,
        env=process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for(lambda: lines(folder, "prior") > 5 and lines(folder, "stage0") > 5)
        # As a terminal does, Ctrl-C is sent to the launch and the processes of its group: both jobs write checkpoints.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert (state(folder, "prior")["state"], state(folder, "stage0")["state"]) == ("stopped", "stopped")
    assert not (folder / "factors/prior/weights.safetensors").exists()
    steps = lines(folder, "stage0")
    with subprocess.Popen(
        launch, env=process_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: state(folder, "stage0")["state"] == "running" and lines(folder, "stage0") > steps)
        # The signal by which Slurm announces the time limit goes to all processes of the job.
        of_auxar = psutil.Process(state(folder, "stage0")["process"]["pid"])
        for each in (of_auxar, of_auxar.parent()):
            os.kill(each.pid, signal.SIGUSR2)
        wait_for(lambda: state(folder, "stage0")["state"] == "requeued")
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    named = re.findall(r"its messages are in (\S+)", errors)
    assert named
    assert all(Path(log).is_file() for log in named)
    [own] = [Path(job.log).read_text() for job in launch_status(folder).jobs if job.name == "stage0"]
    assert "ended by SIGTERM" in own  # The requeued job continued after a checkpoint.
    assert same(weights(folder), weights(run(tmp_path / "alone", table)))
    assert (folder / "report.html").is_file()
    assert (folder / "samples/samples.json").is_file()
    assert [job.state for job in launch_status(folder).jobs] == ["done"] * 3
    assert [factor.trained for factor in launch_status(folder).factors] == [True, True]
    # Nothing is left to do, so no further job is submitted.
    again = call(launch, tmp_path)
    assert (again.returncode, again.stdout) == (0, output)
    assert "this run is finished" in again.stderr


def test_a_job_that_fails_is_named_and_others_are_kept(tmp_path):
    (tmp_path / "failing.py").write_text(FAILING)
    table = tiny(write_pictures(tmp_path / "pictures"), plugins=["failing.py"], prior={"name": "failing"})
    recipe, folder = write(tmp_path / "recipe.toml", table), tmp_path / "launched"
    launch = command("-q", "launch", recipe, "--out", folder, "--on", "local", "--array-limit", "2", "--trust-plugins")
    failed = call(launch, tmp_path)
    assert failed.returncode == 2
    [message] = failed.stderr.splitlines()
    assert message.startswith("auxar: job ")
    assert "(prior) failed: exit status 2: this prior fails; its messages are in " in message
    assert message.endswith("_0_log.err; the same command continues the work")
    found = launch_status(folder)
    assert {job.name: job.state for job in found.jobs} == {"stage0": "done", "prior": "failed"}
    assert [factor.trained for factor in found.factors] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing", "--status"), "nothing is not"),
        (("quickstart",), "--on: expected slurm or local, or a site's file (--site) with the key `on`"),
        (("quickstart", "--on", "slrm"), "--on: expected one of slurm, local, got 'slrm'"),
        (("quickstrat", "--on", "local"), "recipe quickstrat does not exist"),
        (("quickstart", "--status", "--on", "local"), "--on: cannot be combined with --status"),
        (("quickstart", "--cancel", "--set", "a=1"), "--set: cannot be combined with --cancel"),
        (("quickstart", "--status", "--cancel"), "--status: cannot be combined with --cancel"),
        (("quickstart", "--on", "local", "--gpus-per-job", "8"), "--gpus-per-job: 8 is more than the "),
        (("quickstart", "--on", "local", "--processes-per-job", "3"), "training.batch_size"),
        (
            ("--on", "local", "--", "sample", "run", "-n", "3"),
            "expected one recipe, got sample run -n 3; other comm",
        ),
        (
            ("--on", "local", "--copies", "2", "--", "figures", "run"),
            "--copies: expected one of the commands sample, eva",
        ),
        (
            ("--copies", "2", "--out", "x", "--", "sample", "run"),
            "--out: cannot be combined with --copies; give it to the command after --",
        ),
        (("--on", "local", "--copies", "0", "--", "sample", "emoji32"), "--copies: expected an integer from 1 to"),
        (("--on", "local", "--copies", "2", "--", "sample", "nothing"), "nothing is not"),
        (
            ("quickstart", "--on", "local", "--slurm", "a100"),
            "--slurm: expected NAME=VALUE, such as constraint=a100, g",
        ),
    ],
)
def test_wrong_calls_have_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["launch", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"auxar: {message}")
    assert not list(tmp_path.iterdir())


def test_copies_of_a_command_share_its_work(tmp_path):
    folder = run(tmp_path / "run", tiny(write_pictures(tmp_path / "pictures"), sampling__images=0))
    sample = ("sample", folder, "-n", "150")
    launch = ("launch", "--on", "local", "--array-limit", "2", "--copies", "2", "--", *sample, "--out", "parts")
    done = call(command("-q", *launch), tmp_path)
    assert done.returncode == 0, done.stderr
    auxar.sample(folder, images=150, out=tmp_path / "whole")
    pictures = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.png"))
    assert len(pictures) == 152
    for picture in pictures:
        assert (tmp_path / "parts" / picture).read_bytes() == (tmp_path / "whole" / picture).read_bytes()
    facts = [json.loads((tmp_path / name / "samples.json").read_text()) for name in ("parts", "whole")]
    assert {**facts[0], "seconds": 0} == {**facts[1], "seconds": 0}
    assert [(job.name[:7], job.name[-2:], job.state) for job in launch_status(folder).jobs] == [
        ("sample-", "-1", "done"),
        ("sample-", "-2", "done"),
    ]


def test_options_are_settings_of_the_site(tmp_path, finished, monkeypatch):
    folder = shutil.copytree(finished, tmp_path / "run")
    started: list[Site] = []
    monkeypatch.setattr(launch_copies, "start_jobs", lambda *given: started.append(given[1]))
    numbers: dict[str, Any] = {
        "gpus_per_job": 2,
        "processes_per_job": 1,
        "cpus_per_job": 4,
        "seconds_to_stop": 60,
        "array_limit": 3,
    }
    texts: dict[str, Any] = {name: name for name in ("memory", "partition", "account", "qos")} | {
        "on": "slurm",
        "time": "30",
    }
    lists: dict[str, Any] = {"setup": ["module load cuda"], "slurm": ["constraint=a100", "comment=a=b"]}
    auxar.launch(["sample", str(folder)], copies=2, **numbers, **texts, **lists)
    given: dict[str, Any] = {"setup": ("module load cuda",), "slurm": {"constraint": "a100", "comment": "a=b"}}
    assert started == [Site(**numbers, **texts, **given)]


def test_wrong_arguments_of_a_command_in_copies_are_told(capsys):
    with pytest.raises(UserError, match=r"^copies: the command after -- has wrong arguments$"):
        auxar.launch(["sample", "emoji32", "--sede", "3"], copies=2, on="local")
    assert "--sede" in capsys.readouterr().err


def test_a_run_that_was_not_launched_has_no_jobs(finished, tmp_path):
    found = launch_status(finished)
    assert (found.jobs, [factor.trained for factor in found.factors]) == ([], [True, True])
    with pytest.raises(UserError, match=r"is not a run|is missing"):
        launch_status(tmp_path / "nothing")
