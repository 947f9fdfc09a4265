"""Tests that the processes of one command start the same work, or all end with a sentence that says why."""

from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.ranks import free_port, in_threads, started_by_hand
from helpers.tiny_runs import VIEW, call, command, run, tiny, write, write_pictures
from torch.distributed import HashStore

from auxar.distributed import joining, processes
from auxar.distributed.joining import Place, meet
from auxar.distributed.peers import Peer, stopped
from auxar.distributed.processes import Processes, Report, objection
from auxar.distributed.signals import PATIENCE, TOGETHER
from auxar.distributed.watchdog import STOPPED_LOOKS, _Watch
from auxar.draw.given import read_given
from auxar.draw.preparation import usual_preparation
from auxar.errors import UserError
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model
from auxar.recipe.facts import recipe_facts
from auxar.runs import lock
from auxar.runs.lock import holding, holding_for_all

SAME = "; start all processes with the same command, files and version of auxar"
ENVIRONMENT = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}


# The comparison


@pytest.mark.parametrize(
    ("reports", "reason"),
    [
        ([Report({"a": 1}, own={"pid": 1}), Report({"a": 1}, own={"pid": 2})], None),
        (
            [Report({"x": 1, "training.batch_size": 64}), Report({"x": 1, "training.batch_size": 32})],
            "the processes of this command differ: rank 0 has training.batch_size = 64, rank 1 has 32" + SAME,
        ),
        (
            [Report({}), Report({}), Report({"training.clip": 1.0})],
            "the processes of this command differ: rank 0 has no training.clip, rank 2 has 1.0" + SAME,
        ),
        (
            [Report({"a": 1, "the checksum of a.py": "05"}), Report({"a": 1})],
            "the processes of this command differ: rank 0 has the checksum of a.py = '05', rank 1 has none" + SAME,
        ),
        (
            [Report({"a": True}), Report({"a": True}, "x.toml does not exist")],
            "the process with rank 1 of 3 cannot go on: x.toml does not exist",
        ),
    ],
)
def test_the_first_difference_is_named_with_its_values(reports, reason):
    assert objection(dict(enumerate(reports)), 3) == reason


def test_processes_with_equal_facts_go_on():
    def work(group: Processes) -> str:
        for round in range(3):
            with group.agreeing() as facts:
                facts |= {"round": round, "factors": ("stage0", "prior")}
        return "done"

    assert in_threads(3, work) == dict.fromkeys(range(3), "done")


def test_processes_with_different_facts_all_end():
    def work(group: Processes) -> None:
        with group.agreeing() as facts:
            facts["training.steps"] = 4 + group.rank // 2

    found = in_threads(3, work)
    expected = "the processes of this command differ: rank 0 has training.steps = 4, rank 2 has 5" + SAME
    # Processes 1 and 2 may see the difference between themselves before the report of process 0 is there.
    assert {str(error) for error in found.values()} <= {expected, expected.replace("rank 0", "rank 1")}
    assert all(isinstance(error, UserError) for error in found.values())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("plugins: a.py does not exist"), "plugins: a.py does not exist"),
        (OSError("the disk is full"), "the disk is full"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_ends_all_processes_at_once(error, reason, monkeypatch):
    """No process waits for a third one that is still busy."""
    monkeypatch.setattr(processes, "LINGER", 0.1)

    def work(group: Processes) -> None:
        with group.agreeing():
            if group.rank == 1:
                raise error

    found = in_threads(3, work, present=[0, 1])
    assert found[1] is error
    assert isinstance(found[0], UserError)
    assert str(found[0]) == f"the process with rank 1 of 3 cannot go on: {reason}"


def test_a_process_that_fails_ends_after_the_others_know():
    """The store of the reports ends with the process that provides it."""

    def work(group: Processes) -> float:
        try:
            with group.agreeing():
                time.sleep(0.3 * group.rank)
                if group.rank == 0:
                    raise UserError("x")
        except UserError:
            return time.monotonic()
        return 0.0

    started = time.monotonic()
    ends = in_threads(2, work)
    assert min(ends.values()) >= started + 0.3
    assert max(ends.values()) < started + processes.LINGER


def test_a_single_process_compares_nothing():
    group = Processes()
    with group.agreeing() as facts:
        facts["anything"] = object()
    with pytest.raises(UserError, match="own"), group.agreeing():
        raise UserError("own")


def test_one_of_the_waiting_processes_tells_who_is_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(processes, "TOLD_AFTER", 0.1)

    def work(group: Processes) -> None:
        group.exchange(Report(), "start it", limit=0.4)

    found = in_threads(4, work, present=[0, 1, 2])
    told = "waiting for the process with rank 3 of 4 (pid 1003 on host); start it"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, told)]
    assert [str(found[rank]) for rank in range(3)] == [f"ended after 0 seconds of {told}"] * 3


@pytest.mark.parametrize(
    ("count", "ranks"), [(3, "1, 2"), (9, "1, 2, 3, 4, 5, 6, 7, 8"), (10, "1, 2, 3, 4, 5, 6, 7, 8, …")]
)
def test_of_many_missing_processes_some_are_named(count, ranks):
    found = in_threads(count, lambda group: group.exchange(Report(), "start them", limit=0), present=[0])
    pids = ", ".join(f"pid {1000 + rank} on host" for rank in range(1, min(count, 9)))
    message = f"waiting for the processes with rank {ranks} of {count} ({pids}); start them"
    assert str(found[0]) == f"ended after 0 seconds of {message}"


# The start


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, Place(1, 2, "127.0.0.1", 29511, hosts=False)),
        ({"RANK": "0", "MASTER_PORT": ""}, Place(0, 2, "127.0.0.1", 29500, hosts=True)),
        ({"RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"}, Place(0, 2, "127.0.0.1", 29511, hosts=False)),
        ({"WORLD_SIZE": ""}, None),
        ({"WORLD_SIZE": "1", "RANK": "7"}, None),
    ],
)
def test_the_place_of_a_process_is_read_from_its_environment(changes, place):
    assert Place.of({**ENVIRONMENT, **changes}) == place


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: expected an integer, got 'two'"),
        ({"RANK": ""}, "WORLD_SIZE is 2, but RANK is not set; set it to the number of this process, from 0, or use"),
        ({"MASTER_ADDR": ""}, "WORLD_SIZE is 2, but MASTER_ADDR is not set; set it to the host of rank 0"),
        ({"RANK": "2"}, "RANK: expected a number from 0 to WORLD_SIZE - 1 = 1, got 2"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT: expected a number from 1 to 65535, got 70000"),
    ],
)
def test_a_mistake_in_the_environment_is_named(changes, reason):
    with pytest.raises(UserError) as caught:
        Place.of({**ENVIRONMENT, **changes})
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("value", "mps", "cpu"), [("false", False, False), ("true", False, True), ("false", True, True)]
)
def test_processes_join_on_cpus_if_accelerate_is_to_use_them(monkeypatch, value, mps, cpu):
    """`PartialState` would take a GPU in spite of the variable."""
    found: list[bool] = []

    def state(*, cpu: bool = False) -> SimpleNamespace:
        found.append(cpu)
        return SimpleNamespace(process_index=0, num_processes=1)

    monkeypatch.setattr(joining, "PartialState", state)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    monkeypatch.setenv("ACCELERATE_USE_CPU", value)
    assert joining._join().count == 1
    assert found == [cpu]


def test_another_program_at_the_port_is_told(monkeypatch):
    monkeypatch.setattr(joining, "CONNECTING", timedelta(seconds=0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(UserError, match=f"MASTER_PORT={port}: the program that listens there did not answer"):
            joining.connect(Place(1, 2, "127.0.0.1", port, hosts=False))


@pytest.mark.parametrize(("rank", "missing"), [(0, 1), (1, 0)])
def test_a_process_whose_group_does_not_start_tells_it_and_ends(rank, missing, monkeypatch, caplog):
    monkeypatch.setattr(joining, "LIMIT", 0.5)
    monkeypatch.setattr(joining, "TOLD_AFTER", 0.1)
    monkeypatch.setattr(processes, "TOLD_AFTER", 0.1)
    place = Place(rank, 2, "127.0.0.1", free_port(), hosts=rank == 0)
    with pytest.raises(UserError) as caught:
        meet(place)
    told = f"waiting for the process with rank {missing} of 2"
    advice = f"WORLD_SIZE=2, MASTER_ADDR=127.0.0.1, MASTER_PORT={place.port} and its own RANK, or end this process"
    (record,) = caplog.records
    assert record.getMessage().startswith(told)
    assert record.getMessage().endswith(advice)
    assert str(caught.value).startswith(f"ended after 0 seconds of {told}")
    assert str(caught.value).endswith(advice)


def test_a_port_that_is_in_use_is_named():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"MASTER_PORT={port}: the process with rank 0 cannot listen there; use"):
            meet(Place(0, 2, "127.0.0.1", port, hosts=True))


def test_two_processes_do_not_have_the_same_rank(monkeypatch):
    store = HashStore()
    store.add("rank 1", 1)
    monkeypatch.setattr(joining, "connect", lambda place: store)
    monkeypatch.setattr(joining, "LIMIT", 0.2)
    with pytest.raises(UserError, match="RANK: another process has rank 1 already; give each process its own number"):
        meet(Place(1, 2, "127.0.0.1", 29511, hosts=False))


# The folder


def test_an_error_with_the_folder_ends_all_processes(tmp_path):
    def refuse(path: Path) -> None:
        raise UserError(f"{path} is not a run's folder")

    def work(group: Processes) -> None:
        with holding_for_all(tmp_path, group, refuse):
            raise AssertionError("not reached")

    found = in_threads(2, work)
    assert str(found[0]) == f"{tmp_path} is not a run's folder"
    assert str(found[1]) == f"the process with rank 0 of 2 cannot go on: {found[0]}"


def test_a_folder_that_is_not_shared_is_refused(tmp_path, monkeypatch):
    """The same path may lead to different folders on two machines."""
    monkeypatch.setattr(lock, "SEEN_AFTER", 0.2)

    def work(own: Callable[[int], Path]) -> Callable[[Processes], str]:
        def hold(group: Processes) -> str:
            group.peers = [Peer.own(rank) for rank in range(2)]
            with holding_for_all(own(group.rank), group, lambda path: None):
                return "done"

        return hold

    assert in_threads(2, work(lambda rank: tmp_path / "shared")) == {0: "done", 1: "done"}
    found = in_threads(2, work(lambda rank: tmp_path / str(rank)))
    host = socket.gethostname()
    reason = (
        f"{tmp_path / '1'} on {host} is not the folder that the process with rank 0 uses on {host}; all processes need "
        "access to the same folder"
    )
    assert str(found[1]) == reason
    assert str(found[0]) == f"the process with rank 1 of 2 cannot go on: {reason}"
    with holding(tmp_path / "0"):
        pass


# The facts


def test_the_facts_of_a_recipe_include_plugin_files_and_packages(pictures, tmp_path):
    table = {**tiny(pictures), "plugins": ["views.py"]}
    table["stage"][0]["view"] = {"name": "thin", "every": 2}
    (tmp_path / "views.py").write_text(VIEW)
    path = write(tmp_path / "tiny.toml", table)

    def facts() -> dict[str, Any]:
        return recipe_facts(*load_recipe(path, trust_plugins=True))

    before = facts()
    assert before["stage[0].view.every"] == 2
    assert before["prior.head.components"] == 2
    assert before["the plugin with the network 'pixelcnn'"].startswith("pixelcnn (auxar ")
    assert "the plugin with the view 'thin'" not in before  # It has no version. Its content is compared.
    (tmp_path / "views.py").write_text(VIEW + "# changed\n")
    assert {key for key, value in facts().items() if value != before[key]} == {"the checksum of views.py"}


def test_the_digest_of_given_images_depends_on_their_content(pictures, tmp_path):
    recipe, registry = load_recipe(write(tmp_path / "tiny.toml", tiny(pictures)))
    model = build_model(recipe, registry)

    def digest(*names: str, keep: str | None = None) -> str:
        usual = usual_preparation(model.image, recipe)
        return read_given(model, [pictures / name for name in names], usual, keep=keep).digest

    assert digest("000.png") == digest("000.png")
    digests = [
        digest("000.png"),
        digest("001.png"),
        digest("000.png", "001.png"),
        digest("000.png", keep="3"),
        digest("000.png", keep="4"),
    ]
    assert len(set(digests)) == len(digests)


# Stopped processes


def test_a_stopped_process_is_recognized():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        found = Peer(1, "here", child.pid).find()
        for number, expected in ((signal.SIGSTOP, True), (signal.SIGCONT, False)):
            child.send_signal(number)
            until = time.monotonic() + 10
            while stopped(found) != expected and time.monotonic() < until:
                time.sleep(0.01)
            assert stopped(found) == expected
    finally:
        child.kill()
        child.wait()
    assert not stopped(found)
    assert not stopped(None)


def test_a_process_that_stays_stopped_is_told_once_and_when_it_goes_on(monkeypatch, caplog):
    halted: set[Any] = set()
    monkeypatch.setattr("auxar.distributed.watchdog.stopped", lambda process: process in halted)
    peers = [Peer(rank, "here", 1000 + rank) for rank in range(4)]

    def watch(rank: int) -> _Watch:
        found = _Watch([], peers[rank], 4)
        # The rank stands for the process.
        found.peers = [(peer, peer.rank) for peer in peers if peer.rank != rank]
        return found

    watches = {rank: watch(rank) for rank in (1, 2)}

    def look(times: int) -> dict[int, list[str]]:
        told = {}
        for rank, found in watches.items():
            caplog.clear()
            for _ in range(times):
                found._tell_of_stops()
            told[rank] = [record.getMessage() for record in caplog.records]
        return told

    halted |= {0, 3}
    assert look(STOPPED_LOOKS - 1) == {1: [], 2: []}
    halted.remove(3)
    first = look(1)
    assert first[2] == []  # Process 1 tells it.
    (message,) = first[1]
    assert message == (
        "the process with rank 0 of 4 (pid 1000) is stopped, and the other processes wait for it; `kill -CONT 1000` "
        "lets it go on; or end it with `kill -KILL 1000`, and start the same command again"
    )
    assert look(2 * STOPPED_LOOKS) == {1: [], 2: []}
    halted.clear()
    assert look(2) == {1: ["the process with rank 0 of 4 (pid 1000) goes on"], 2: []}
    halted.add(0)
    assert look(STOPPED_LOOKS)[1] == [message]


# Processes started by hand


@pytest.fixture(scope="module")
def two_folders(tmp_path_factory) -> list[Path]:
    """Two folders that hold different plugin files and images, and the same recipes."""
    root = tmp_path_factory.mktemp("ranks")
    folders = [root / "first", root / "second"]
    for number, folder in enumerate(folders):
        write_pictures(folder / "pictures", count=24 - number)
        (folder / "views.py").write_text(f"{VIEW}NUMBER = {number}\n")
        write(folder / "tiny.toml", tiny(Path("pictures")))
        write(folder / "thin.toml", {**tiny(Path("pictures")), "plugins": ["views.py"]})
    return folders


def differ(first: str, second: str) -> tuple[str, str]:
    """The sentence of both processes if the facts of rank 0 and rank 1 differ."""
    return (f"the processes of this command differ: rank 0 has {first}, rank 1 has {second}{SAME}",) * 2


RUN = ["run", "tiny.toml", "--out", "{root}/out"]
OTHER_RUN = [*RUN[:3], "{root}/other"]
MISTAKE = "--stage: expected the number of a stage of this model, from 0 to 0, got 7"
DIFFERENCES: dict[str, tuple[list[str], list[str], tuple[str, str]]] = {
    "batch size": (RUN, [*RUN, "--set", "training.batch_size=2"], differ("training.batch_size = 4", "2")),
    "folder": (RUN, OTHER_RUN, differ("--out = '{root}/out'", "'{root}/other'")),
    "factors": ([*RUN, "--factors", "prior"], RUN, differ("--factors = ['prior']", "['prior', 'stage0']")),
    "command": (RUN, ["evaluate", "{root}/run"], differ("command = 'run'", "'evaluate'")),
    "plugin file": (
        ["run", "thin.toml", "--trust-plugins", *RUN[2:]],
        ["run", "thin.toml", "--trust-plugins", *RUN[2:]],
        differ("the checksum of views.py = 'HASH'", "'HASH'"),
    ),
    "images": (
        RUN,
        RUN,
        differ("the training images = '18 images, fingerprint HASH'", "'17 images, fingerprint HASH'"),
    ),
    "evaluation": (
        ["evaluate", "{root}/run", "--set", "evaluation.batch_size=3"],
        ["evaluate", "{root}/run"],
        differ("evaluation.batch_size = 3", "16"),
    ),
    "samples": (
        ["sample", "{root}/run", "--seed", "1"],
        ["sample", "{root}/run", "--seed", "2"],
        differ("--out = '{root}/run/samples/ancestral-seed1'", "'{root}/run/samples/ancestral-seed2'"),
    ),
    "given images": (
        ["sample", "{root}/run", "--out", "{root}/drawn", "--given", "pictures/000.png"],
        ["sample", "{root}/run", "--out", "{root}/drawn", "--given", "pictures/001.png"],
        differ("the given images = 'HASH'", "'HASH'"),
    ),
    "figures": (["figures", "{root}/run"], ["figures", "{root}/run", "--rows", "2"], differ("--rows = 6", "2")),
    "mistake": (
        ["sample", "{root}/run", "--given", "pictures/000.png"],
        ["sample", "{root}/run", "--given", "pictures/000.png", "--stage", "7"],
        (f"the process with rank 1 of 2 cannot go on: {MISTAKE.removeprefix('--')}", MISTAKE),
    ),
}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in DIFFERENCES if name != "batch size"]


@pytest.mark.parametrize("case", ["batch size", *SLOW])
def test_processes_that_differ_all_end_with_a_sentence(two_folders, case):
    root = two_folders[0].parent
    first, second, sentences = DIFFERENCES[case]
    if "{root}/run" in second and not (root / "run").exists():
        run(root / "run", tiny(two_folders[0] / "pictures"))
    files = sorted(root.rglob("*"))
    ranks = [[word.format(root=root) for word in arguments] for arguments in (first, second)]
    with started_by_hand(*ranks, folders=two_folders) as started:
        for process, sentence in zip(started, sentences, strict=True):
            _, errors = process.communicate(timeout=60)
            told = [line for line in errors.splitlines() if line.startswith("auxar: ")]
            without_hashes = [re.sub("[0-9a-f]{32,64}", "HASH", line) for line in told]
            assert without_hashes == [f"auxar: {sentence}".format(root=root)]
            assert "Traceback" not in errors
            assert process.returncode == 2
    assert sorted(root.rglob("*")) == files


@pytest.mark.slow
def test_a_process_without_a_group_does_not_work_alone(two_folders):
    """Without this message, each process would do all the work."""
    root = two_folders[0].parent
    arguments = [word.format(root=root) for word in RUN]
    with started_by_hand(arguments, arguments, folders=two_folders, ACCELERATE_USE_CPU="false") as started:
        for process in started:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 2
            told = "WORLD_SIZE is 2, but each process would work alone, because there is no GPU; set ACCELERATE_USE_CPU"
            assert f"auxar: {told}=true to use CPUs, or use a launcher\n" in errors


@pytest.mark.slow
def test_a_mistake_is_told_by_the_processes_of_a_launcher(two_folders):
    done = call(command("evaluate", "missing", processes=2), two_folders[0])
    assert done.returncode != 0
    assert "auxar: missing is not a run's folder: it does not exist; `auxar run RECIPE` makes a run" in done.stderr
    assert "ended before the work was done" not in done.stderr


@pytest.mark.slow
def test_a_process_that_is_stopped_is_told_and_a_second_signal_ends_the_others(two_folders):
    root = two_folders[0].parent
    arguments = ["run", "tiny.toml", "--out", root / "long", "--set", "training.steps=100000"]
    with started_by_hand(arguments, arguments, folders=[two_folders[0]] * 2) as (first, second):
        until = time.monotonic() + 120
        while not any((root / "long").glob("factors/prior/metrics.jsonl")) and time.monotonic() < until:
            time.sleep(0.05)
        name = f"the process with rank 1 of 2 (pid {second.pid})"
        for number, words in (
            (signal.SIGSTOP, f"{name} is stopped, and the other"),
            (signal.SIGCONT, f"{name} goes on"),
        ):
            second.send_signal(number)
            sent = time.monotonic()
            while words not in (line := first.stderr.readline()):
                assert line, "the process has ended"
            assert time.monotonic() - sent < 60
        assert first.poll() is second.poll() is None
        # The first process is blocked in a collective operation soon after the second one is stopped.
        second.send_signal(signal.SIGSTOP)
        for _ in range(2):
            time.sleep(TOGETHER + 1)
            first.terminate()
        _, errors = first.communicate(timeout=PATIENCE + 10)
        assert first.returncode == 143
        assert errors.endswith("the second signal and the process did not react within 3 seconds\n")
        second.send_signal(signal.SIGCONT)
        assert second.wait(30) == 3
