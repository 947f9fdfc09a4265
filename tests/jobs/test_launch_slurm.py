"""Evidence with a real Slurm: the factors of the quickstart as jobs that are killed, stopped and requeued.

    python -m pytest -m slow tests/jobs

It needs root, and Debian's packages slurm-wlm and munge (see slurm_cluster.py), and takes about twenty minutes.
"""

import json
import time

import pytest
from helpers.tiny_runs import call, command, same, weights

from . import slurm_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"missing: {', '.join(slurm_cluster.missing())}"),
]
SETTINGS = ("--set", "training.steps=1000", "sampling.images=4", "training.checkpoint_every=50")


@pytest.fixture
def cluster():
    with slurm_cluster.slurm(nodes=3) as running:
        yield running


def wait_for(found, limit=900):
    end = time.monotonic() + limit
    while not (value := found()):
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.5)
    return value


def test_factors_as_jobs_of_slurm_become_the_model_of_one_process(tmp_path, cluster):
    folder = tmp_path / "launched"
    environment = {**cluster.environment, "OMP_NUM_THREADS": "1"}

    def auxar(*arguments):
        done = call(command(*arguments), tmp_path, timeout=1800, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status():
        return json.loads(auxar("launch", folder, "--status", "--json"))

    def states():
        return {job["name"]: job["state"] for job in status()["jobs"]}

    def steps(name):
        return next(factor["steps"] for factor in status()["factors"] if factor["factor"] == name)

    def starts_at_once(number):
        # Slurm waits two minutes before it starts a requeued job again.
        cluster.call("scontrol", "update", f"JobId={number}", "StartTime=now")

    def is_waiting(number):
        queue = cluster.call("squeue", "--array", "--noheader", "--format=%i %T").splitlines()
        return f"{number} PENDING" in queue

    # The signal that announces the time limit comes after two minutes, so that stage0 needs several parts.
    site = tmp_path / "site.toml"
    site.write_text('on = "slurm"\ntime = "3"\nseconds_to_stop = 60\n')
    started = time.monotonic()
    launch = ("launch", "quickstart", *SETTINGS, "--site", site, "--out", folder)
    auxar(*launch)
    numbers = {job["name"]: job["id"] for job in status()["jobs"]}
    assert set(numbers) == {"stage0", "stage1", "prior", "finish"}
    assert states()["finish"] == "waiting"
    # A second launch finds that all jobs are in the queue.
    auxar(*launch)
    assert {job["name"]: job["id"] for job in status()["jobs"]} == numbers

    # Slurm kills a job and puts it back into the queue, as after the failure of a machine.
    wait_for(lambda: steps("prior") >= 50)
    cluster.call("scontrol", "requeue", numbers["prior"])
    # The controller is started again while jobs run.
    cluster.stop_controller()
    cluster.start_controller()
    wait_for(lambda: is_waiting(numbers["prior"]))
    starts_at_once(numbers["prior"])

    requeued = 0
    while states()["finish"] != "done":
        for name, number in numbers.items():
            if is_waiting(number) and name != "finish":
                starts_at_once(number)
                requeued += 1
        assert "failed" not in states().values()
        assert "lost" not in states().values()
        time.sleep(2)
    by_jobs = time.monotonic() - started
    assert requeued > 0  # The time limit of stage0 has passed.
    assert set(states().values()) == {"done"}

    started = time.monotonic()
    auxar("run", "quickstart", *SETTINGS, "--out", tmp_path / "alone")
    alone = time.monotonic() - started
    assert same(weights(folder), weights(tmp_path / "alone"))
    assert (folder / "report.html").is_file()
    print(f"by jobs {by_jobs:.0f} s with {requeued} requeues, in one process {alone:.0f} s")


def test_a_canceled_launch_goes_on(tmp_path, cluster):
    folder = tmp_path / "launched"
    launch = command("launch", "quickstart", *SETTINGS, "--on", "slurm", "--time", "30", "--out", folder)
    assert call(launch, tmp_path, **cluster.environment).returncode == 0
    weights_file = folder / "factors" / "prior" / "metrics.jsonl"
    wait_for(weights_file.exists)
    canceled = call(command("launch", folder, "--cancel"), tmp_path, **cluster.environment)
    assert canceled.returncode == 0
    wait_for(lambda: not cluster.call("squeue", "--noheader"))
    assert list(weights_file.parent.glob("training-*.safetensors"))
    again = call([*launch, "--json"], tmp_path, **cluster.environment)
    assert {job["state"] for job in json.loads(again.stdout)["jobs"]} <= {"waiting", "running"}
