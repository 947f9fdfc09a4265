"""Evidence with a real Slurm: jobs that are killed, canceled, and requeued at their time limit.

    python -m pytest -m slow tests/plugins/auxar_jobs

It needs root, and Debian's packages slurm-wlm and munge (see slurm_cluster.py), and takes about ten minutes.
"""

import contextlib
import subprocess
import time

import pytest
from helpers.killing import wait_for
from helpers.tiny_runs import call, command, run, same, tiny, weights, write, write_pictures

from . import slurm_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"missing: {', '.join(slurm_cluster.missing())}"),
]


@pytest.fixture
def cluster():
    with slurm_cluster.slurm(nodes=3) as running:
        yield running


def start_requeued(cluster):
    """Starts the jobs that wait, and returns their number. Slurm waits two minutes before it starts a requeued job."""
    waiting = cluster.call("squeue", "--array", "--noheader", "--states=PENDING", "--format=%i").split()
    time.sleep(2)  # Within a second, a node would refuse the job, which it has just ended.
    for number in waiting:
        with contextlib.suppress(subprocess.CalledProcessError):  # The job has begun by itself.
            cluster.call("scontrol", "update", f"JobId={number}", "StartTime=now")
    return len(waiting)


def test_jobs_that_are_killed_and_reach_their_time_limit_train_the_same_model(tmp_path, cluster):
    table = tiny(write_pictures(tmp_path / "pictures"), training__steps=12000, training__checkpoint_every=400)
    table["training"]["log_every"] = 100
    recipe, folder = write(tmp_path / "recipe.toml", table), tmp_path / "launched"
    # Slurm announces the time limit 150 to 210 seconds before it.
    limit = ("--time", "4", "--slurm", "signal=USR2@150")
    launch = ("launch", "-n", "2", "--on", "slurm", *limit, "--", "auxar", "run", recipe, "--out", folder)
    done = call(command(*launch), tmp_path, OMP_NUM_THREADS="1", **cluster.environment)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: list(folder.glob("factors/*/training-*.safetensors")), limit=1500)
    cluster.call("scontrol", "requeue", "1_1")
    requeued = 0

    def has_ended():
        nonlocal requeued
        requeued += start_requeued(cluster)
        return not cluster.call("squeue", "--noheader")

    wait_for(has_ended, limit=1500)
    assert cluster.call("squeue", "--array", "--states=all", "--noheader", "--format=%T").split() == ["COMPLETED"] * 2
    logs = "".join(log.read_text() for log in tmp_path.glob("jobs/*/*.out"))
    assert "Caught signal SIGUSR2" in logs
    assert "ended by SIGTERM" in logs
    assert requeued >= 2
    assert same(weights(folder), weights(run(tmp_path / "alone", table)))
    assert (folder / "report.html").is_file()
