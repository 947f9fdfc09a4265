"""Tests of what is submitted to Slurm, and of the states of jobs, with programs in the place of Slurm's."""

import os
import signal
import stat
import subprocess

import attrs
import pytest

from auxar import RunFolder, UserError
from auxar.commands.launched_jobs import statuses
from auxar.jobs.job import Job
from auxar.jobs.queues import end_here, states_in_slurm, submit_to_slurm
from auxar.jobs.records import Launch, LaunchedJob, ProcessId, jobs_folder, state_path, write_state
from auxar.jobs.site import Site
from auxar.jobs.status import are_done, job_statuses
from auxar.report.jobs import job_lines


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Puts programs in the place of Slurm's: `sbatch` keeps the files of its jobs, and `squeue` prints a file."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    programs = {
        "srun": "",
        "sbatch": f'n=$(($(ls {folder} | grep -c submitted) + 7)); cp "$1" {folder}/submitted$n; '
        'echo "Submitted batch job $n"',
        "squeue": f"cat {folder}/queue",
        "scancel": "",
    }
    for name, script in programs.items():
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def job(folder, name):
    return Job(name, ("run", "recipe.toml"), state_path(folder, name), 1, gpus=False)


def flags(file):
    return {line.removeprefix("#SBATCH ") for line in file.read_text().splitlines() if line.startswith("#SBATCH")}


def test_jobs_are_submitted_with_the_settings_of_the_site(tmp_path, slurm):
    site = Site(
        "slurm", 8, cpus_per_job=16, memory="64G", time="2-00", array_limit=3, partition="long", account="us",
        qos="low", setup=("module load cuda",), slurm={"constraint": "a100"},
    )  # fmt: skip
    jobs = submit_to_slurm(site, tmp_path, "mine", [job(tmp_path, name) for name in ("prior", "stage0")], ())
    assert [(each.name, each.id) for each in jobs] == [("prior", "7_0"), ("stage0", "7_1")]
    [last] = submit_to_slurm(site, tmp_path, "mine", [job(tmp_path, "finish")], ["7", "5_0"])
    assert last.id == "8"
    common = {
        "--job-name=mine", "--gpus-per-node=8", "--cpus-per-task=16", "--mem=64G", "--time=2880", "--partition=long",
        "--account=us", "--qos=low", "--constraint=a100", "--requeue", "--signal=USR2@120", "--nodes=1",
        "--kill-on-invalid-dep=yes",
    }  # fmt: skip
    assert flags(slurm / "submitted7") >= common | {"--array=0-1%2"}
    assert flags(slurm / "submitted8") >= common | {"--dependency=afterok:7:5_0"}
    assert "module load cuda" in (slurm / "submitted7").read_text().splitlines()


def test_a_refusal_of_slurm_is_one_sentence(tmp_path, slurm):
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"^Slurm does not accept the jobs: .*invalid partition specified: x"):
        submit_to_slurm(Site("slurm", time="5"), tmp_path, "mine", [job(tmp_path, "prior")], ())
    (slurm / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"^Slurm's queue cannot be read: Unable to contact slurm controller"):
        states_in_slurm()


HERE = ProcessId.of(os.getpid())


def test_states_come_from_the_queue_and_from_the_jobs_themselves(tmp_path, slurm):
    run = RunFolder(tmp_path / "run")
    folder = jobs_folder(run)
    (folder / "logs").mkdir(parents=True)
    log = folder / "logs" / "log"
    log.write_text("auxar: ended by SIGTERM\n")
    start = log.stat().st_size  # Messages of an earlier part of the job are not the reason of its end.
    log.write_text("auxar: ended by SIGTERM\nauxar: not this\nprogress\nauxar: data.path: no images\nTraceback\n")
    names = ["waiting", "running", "again", "done", "failed", "silent", "stopped", "killed", "vanished", "restarted"]
    launched = Launch("slurm", [LaunchedJob(name, f"9_{place}", "logs/log") for place, name in enumerate(names)])
    ids = {each.name: each.id for each in launched.jobs}
    for name, state, status in (
        ("running", "running", None), ("again", "requeued", None), ("done", "done", 0), ("failed", "failed", 2),
        ("stopped", "stopped", 143), ("killed", "running", None), ("restarted", "running", None),
    ):  # fmt: skip
        write_state(state_path(folder, name), state, ids[name], HERE, start, status)  # type: ignore[arg-type]
    write_state(state_path(folder, "silent"), "failed", ids["silent"], HERE, log.stat().st_size, 1)
    write_state(state_path(folder, "vanished"), "done", "8_7", HERE)  # The state of an earlier job of this name.
    (slurm / "queue").write_text(
        "9_0|PENDING|Priority\n9_1|RUNNING|None\n9_2|PENDING|BeginTime\n9_9|PENDING|BeginTime\n12|RUNNING|None\n"
    )
    found = {each.name: each for each in job_statuses(run, launched, states_in_slurm())}
    assert {name: each.state for name, each in found.items()} == {
        "waiting": "waiting", "running": "running", "again": "waiting", "done": "done", "failed": "failed",
        "silent": "failed", "stopped": "stopped", "killed": "lost", "vanished": "lost", "restarted": "waiting",
    }  # fmt: skip
    assert found["waiting"].detail == "Priority"
    assert found["silent"].detail == "exit status 1"
    assert job_lines([found["failed"]]) == [
        f"job 9_4 (failed) failed: exit status 2: data.path: no images; its messages are in {log}"
    ]
    assert [each.name for each in found.values() if each.is_active] == ["waiting", "running", "again", "restarted"]
    # The queue need not be asked only if all jobs are done.
    done, running = (next(job for job in launched.jobs if job.name == name) for name in ("done", "running"))
    assert are_done(run, Launch("slurm", [done]))
    assert not any(are_done(run, Launch("slurm", jobs)) for jobs in ([running], [done, running], [running, done]))
    both = statuses(run, Launch("slurm", [done, running]))
    assert [each.state for each in both] == ["done", "running"]


def test_a_job_of_this_machine_waits_as_long_as_its_launch_runs(tmp_path):
    run = RunFolder(tmp_path / "run")
    jobs_folder(run).mkdir(parents=True)
    ended = subprocess.Popen(["sleep", "60"])
    gone = ProcessId.of(ended.pid)
    ended.kill()
    ended.wait()
    jobs = [LaunchedJob(name, "1", "logs/log") for name in ("here", "far", "gone", "reused", "starting")]
    far = attrs.evolve(HERE, host="another", machine="another")  # It cannot be seen from here.
    write_state(state_path(jobs_folder(run), "here"), "running", "1", HERE)
    write_state(state_path(jobs_folder(run), "far"), "running", "1", far)
    write_state(state_path(jobs_folder(run), "gone"), "running", "1", gone)
    # Another process has the number of one that has ended.
    write_state(state_path(jobs_folder(run), "reused"), "running", "1", attrs.evolve(HERE, started=HERE.started - 9))
    for launcher, state in ((gone, "lost"), (None, "lost"), (HERE, "waiting"), (far, "waiting")):
        found = job_statuses(run, Launch("local", jobs, launcher), {})
        assert [each.state for each in found] == ["running", "running", state, state, state]


def test_only_own_processes_are_ended(tmp_path):
    job = LaunchedJob("prior", "1", "logs/log")
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    process = ProcessId.of(other.pid)
    try:
        for wrong in (
            attrs.evolve(process, started=process.started + 9),
            attrs.evolve(process, machine="another"),
            attrs.evolve(process, pid=1),
            attrs.evolve(process, pid=0),
            attrs.evolve(process, pid=-1),
        ):
            write_state(state_path(tmp_path, "prior"), "running", "1", wrong)
            assert not end_here(tmp_path, job)
        write_state(state_path(tmp_path, "prior"), "running", "1", process)
        assert end_here(tmp_path, job)
        assert other.wait(10) == -signal.SIGTERM
    finally:
        other.kill()


def test_logs_that_are_links_are_not_read(tmp_path):
    run = RunFolder(tmp_path / "run")
    (jobs_folder(run) / "logs").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_text("auxar: secret\n")
    log = jobs_folder(run) / "logs" / "log"
    log.symlink_to(secret)
    write_state(state_path(jobs_folder(run), "prior"), "failed", "1", HERE, status=2)
    launched = Launch("local", [LaunchedJob("prior", "1", "logs/log")])
    [status] = job_statuses(run, launched, {})
    assert status.detail == "exit status 2"
    log.unlink()
    log.write_text("auxar: own\n")
    [status] = job_statuses(run, launched, {})
    assert status.detail == "exit status 2: own"


@pytest.mark.parametrize("log", ["../../secret/log", "/etc/passwd", "logs/../../x", "log", "logs/log\n"])
def test_a_log_is_a_file_of_the_jobs(log):
    with pytest.raises(ValueError, match="log: expected the name of a file in a folder"):
        LaunchedJob("prior", "1", log)
