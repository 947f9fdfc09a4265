"""Tests that the processes of one command start the same work, or all end with a sentence that says why."""

import re
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import tomli_w
from helpers.ranks import in_threads
from helpers.tiny_runs import VIEW, tiny, write, write_pictures
from torch.distributed import DistNetworkError

from auxar import locks
from auxar.draw.forms import usual_preparation
from auxar.draw.given import read_given
from auxar.errors import UserError
from auxar.locks import noted_by
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model
from auxar.recipe.facts import recipe_facts
from auxar.recipe.loading import parse_recipe
from auxar.runs import lock
from auxar.runs.layout import RunFolder
from auxar.runs.lock import holding, holding_for_all
from auxar.training.beginning import Task, begin
from auxar.training.lengths import check_training
from auxar.work import processes
from auxar.work.processes import ALONE, Processes, working_together

SAME = "; start all processes with the same command, files and version of auxar"


# The comparison


def test_processes_with_equal_facts_go_on(monkeypatch):
    def work(group: Processes) -> str:
        for round in range(3):
            with group.agreeing() as facts:
                facts |= {"round": round, "factors": ("stage0", "prior")}
        return group.from_main(f"told by {group.rank}")

    assert in_threads(3, work, monkeypatch) == ["told by 0"] * 3


@pytest.mark.parametrize(
    ("own", "difference"),
    [
        ([{"a": 1, "training.steps": 4}] * 2 + [{"a": 1, "training.steps": 5}], "training.steps = 4, rank 2 has 5"),
        ([{"the checksum of a.py": "05"}, {}, {}], "the checksum of a.py = '05', rank 1 has none"),
        ([{}, {}, {"a": 1}], "no a, rank 2 has 1"),
    ],
)
def test_processes_with_different_facts_all_end(monkeypatch, own, difference):
    def work(group: Processes) -> None:
        with group.agreeing() as facts:
            facts |= own[group.rank]

    found = in_threads(3, work, monkeypatch)
    expected = f"the processes of this command differ: rank 0 has {difference}{SAME}"
    assert [str(error) for error in found] == [expected] * 3
    assert all(isinstance(error, UserError) for error in found)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(UserError("plugins: a.py does not exist"), "plugins: a.py does not exist"), (MemoryError(), "MemoryError")],
)
def test_an_error_ends_all_processes(error, reason, monkeypatch):
    def work(group: Processes) -> None:
        with group.agreeing():
            if group.rank == 1:
                raise error

    found = in_threads(3, work, monkeypatch)
    assert found[1] is error
    assert [str(found[rank]) for rank in (0, 2)] == [f"the process with rank 1 of 3 cannot go on: {reason}"] * 2
    assert isinstance(found[0], UserError)


# The start


@pytest.mark.parametrize(
    ("value", "gpu", "mps", "cpu"),
    [("false", True, False, False), ("true", True, False, True), ("false", True, True, True), ("", False, False, True)],
)
def test_processes_join_on_cpus_if_they_cannot_or_must_not_use_gpus(monkeypatch, value, gpu, mps, cpu):
    """`PartialState` would take a GPU in spite of the variable, and connects no processes on CPUs without it."""
    found: list[bool] = []

    def state(*, cpu: bool = False) -> SimpleNamespace:
        found.append(cpu)
        return SimpleNamespace(process_index=0, num_processes=1, wait_for_everyone=lambda: None)

    monkeypatch.setattr(processes, "PartialState", state)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: gpu)
    monkeypatch.setenv("ACCELERATE_USE_CPU", value)
    at_exit: list[object] = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    with working_together() as group:
        assert group.count == 1
    assert found == [cpu]
    assert at_exit == [processes._disconnect]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("RANK expected"), "the processes of this command cannot be connected (RANK expected); start them"),
        (None, "WORLD_SIZE is 2, but each process would work alone, because LOCAL_RANK is not set; start the"),
    ],
)
def test_a_mistake_in_the_environment_is_told(monkeypatch, error, words):
    def state(*, cpu: bool) -> SimpleNamespace:
        if error is not None:
            raise error
        return SimpleNamespace(process_index=0, num_processes=1)

    monkeypatch.setattr(processes, "PartialState", state)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError) as caught, working_together():
        raise AssertionError("not reached")
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    "error", [DistNetworkError("reset by peer"), RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error")]
)
def test_a_broken_connection_is_told(error):
    with pytest.raises(UserError, match="the connection to another process broke"), working_together():
        raise error
    with pytest.raises(RuntimeError, match="other"), working_together():
        raise RuntimeError("other")


# The folder


def test_an_error_with_the_folder_ends_all_processes(tmp_path, monkeypatch):
    def refuse(path: Path) -> None:
        raise UserError(f"{path} is not a run's folder")

    def work(group: Processes) -> None:
        with holding_for_all(tmp_path, group, refuse):
            raise AssertionError("not reached")

    found = in_threads(2, work, monkeypatch)
    assert str(found[0]) == f"{tmp_path} is not a run's folder"
    assert str(found[1]) == f"the process with rank 0 of 2 cannot go on: {found[0]}"


def test_a_folder_that_is_not_shared_is_refused(tmp_path, monkeypatch):
    """The same path may lead to different folders on two machines."""
    monkeypatch.setattr(lock, "SEEN_AFTER", 0.2)

    def work(own: Callable[[int], Path]) -> Callable[[Processes], str]:
        def hold(group: Processes) -> str:
            with holding_for_all(own(group.rank), group, lambda path: None):
                return "done"

        return hold

    assert in_threads(2, work(lambda rank: tmp_path / "shared"), monkeypatch) == ["done", "done"]
    found = in_threads(2, work(lambda rank: tmp_path / str(rank)), monkeypatch)
    host = socket.gethostname()
    reason = (
        f"{tmp_path / '1'} on {host} is not the folder that the process with rank 0 uses on {host}; all processes need "
        "access to the same folder"
    )
    assert str(found[1]) == reason
    assert str(found[0]) == f"the process with rank 1 of 2 cannot go on: {reason}"
    with holding(tmp_path / "0"):
        pass


def test_the_main_process_needs_no_note_of_its_own(tmp_path, monkeypatch):
    """On a full disk, the note cannot be written. What is written next says so."""
    monkeypatch.setattr(lock, "SEEN_AFTER", 0.0)
    monkeypatch.setattr(locks, "write_json", mock.Mock(side_effect=UserError("No space left on device")))
    with holding_for_all(tmp_path, ALONE, lambda path: None):
        assert noted_by(tmp_path / lock.LOCK) is None


# The facts


def test_the_facts_of_a_recipe_include_plugin_files_and_packages(pictures, tmp_path):
    table = {**tiny(pictures), "plugins": ["views.py"]}
    table["stage"][0]["view"] = {"name": "thin", "every": 2}
    (tmp_path / "views.py").write_text(VIEW)
    path = write(tmp_path / "tiny.toml", table)

    def facts() -> dict[str, Any]:
        return recipe_facts(load_recipe(path, trust_plugins=True))

    before = facts()
    assert before["stage[0].view.every"] == 2
    assert before["prior.head.components"] == 2
    assert before["the plugin with the network 'pixelcnn'"].startswith("pixelcnn (auxar ")
    assert "the plugin with the view 'thin'" not in before  # It has no version. Its content is compared.
    (tmp_path / "views.py").write_text(VIEW + "# changed\n")
    assert {key for key, value in facts().items() if value != before[key]} == {"the checksum of views.py"}


def test_the_digest_of_given_images_depends_on_their_content(pictures, tmp_path):
    recipe = load_recipe(write(tmp_path / "tiny.toml", tiny(pictures)))
    model = build_model(recipe)

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


def test_processes_with_different_images_all_end_and_make_no_folder(tmp_path, monkeypatch):
    def work(group: Processes) -> None:
        pictures = write_pictures(tmp_path / str(group.rank), 24 - group.rank)
        recipe = parse_recipe(tomli_w.dumps(tiny(pictures)), None)
        task = Task(RunFolder(tmp_path / "run"), recipe, build_model(recipe, on="meta"), recipe.factor_names)
        accelerator: Any = None  # It is not used so early.
        begin(task, accelerator, group, lambda path: None)

    told = [re.sub("[0-9a-f]{16,64}", "HASH", str(error)) for error in in_threads(2, work, monkeypatch)]
    first, second = (f"'{count} images, fingerprint HASH'" for count in (18, 17))
    words = f"rank 0 has the training images = {first}, rank 1 has {second}{SAME}"
    assert told == [f"the processes of this command differ: {words}"] * 2
    assert not (tmp_path / "run").exists()


def test_a_batch_is_divided_evenly(pictures, tmp_path):
    recipe = load_recipe(write(tmp_path / "tiny.toml", tiny(pictures, training__batch_size=9)))
    check_training(recipe, recipe.factor_names, 3)
    message = (
        r"^training\.batch_size: 9 is not divisible by the number of processes, 4; use a multiple of 4, such as 12$"
    )
    with pytest.raises(UserError, match=message):
        check_training(recipe, recipe.factor_names, 4)
