"""Tests of work in chunks: any interleaving of processes, some of which die, gives the output of one process."""

import contextlib
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from helpers.killing import REPETITIONS
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.files import kind, read_json, write_json
from auxar.work import chunks
from auxar.work.chunks import Tensors, Work, user_of_work

PATCHED = ("acquire", "is_file", "write_tensors", "read_tensors", "remove", "entries")
"""Functions of files before each of which another process may go on, or a process may die."""


class Killed(BaseException):
    """The end of a process that was killed."""


class Processes:
    """Runs functions in threads, of which one goes on at a time, from a step to the next one.

    `choices` are numbers that choose the thread that goes on. A thread is killed at its step with the number in
    `deaths`. Locks are released then, as an operating system does.
    """

    def __init__(self, choices: Sequence[int], deaths: dict[int, int]) -> None:
        self.choices = list(choices)
        self.deaths = deaths
        self.turns: dict[int, threading.Semaphore] = {}
        self.back = threading.Semaphore(0)
        self.steps: dict[int, int] = {}
        self.names: dict[int, int] = {}

    def step(self) -> None:
        """Waits for the next turn of this thread."""
        name = self.names[threading.get_ident()]
        self.back.release()
        self.turns[name].acquire()
        self.steps[name] += 1
        if self.steps[name] == self.deaths.get(name):
            raise Killed

    def run(self, works: Sequence[Callable[[], None]]) -> list[BaseException | None]:
        """Runs the functions until all have ended. Returns the error of each, or None."""
        ends: list[BaseException | None] = [None] * len(works)
        ended = set()

        def body(name: int) -> None:
            self.names[threading.get_ident()] = name
            self.turns[name].acquire()
            try:
                works[name]()
            except BaseException as error:
                ends[name] = error
            ended.add(name)
            self.back.release()

        threads = [threading.Thread(target=body, args=(name,), daemon=True) for name in range(len(works))]
        for name, thread in enumerate(threads):
            self.turns[name], self.steps[name] = threading.Semaphore(0), 0
            thread.start()
        turn = 0
        while len(ended) < len(works):
            going = [name for name in range(len(works)) if name not in ended]
            choice = self.choices.pop(0) if self.choices else (turn := turn + 1)
            self.turns[going[choice % len(going)]].release()
            assert self.back.acquire(timeout=60), "a process hangs"
        for thread in threads:
            thread.join(60)
        return ends

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """A context in which functions of files take a step first, and waiting takes a step instead of time."""
        with contextlib.ExitStack() as stack:
            for name in PATCHED:
                stack.enter_context(mock.patch.object(chunks, name, self._stepping(getattr(chunks, name))))
            stack.enter_context(mock.patch("time.sleep", self._sleep))
            yield

    def _sleep(self, seconds: float) -> None:
        self.step()

    def _stepping(self, function: Callable[..., object]) -> Callable[..., object]:
        def stepping(*arguments: object, **options: object) -> object:
            if threading.get_ident() in self.names:
                self.step()
            return function(*arguments, **options)

        return stepping


class Sums(Work):
    """Work whose output is a JSON file with the sums of its chunks, and the key."""

    def __init__(self, output: Path, count: int, seed: int = 0) -> None:
        super().__init__(output, {"seed": seed}, count)
        self.seed = seed
        self.computed: list[int] = []
        self.refused: list[int] = []

    def compute(self, number: int) -> Tensors:
        self.computed.append(number)
        return {"sum": torch.tensor([self.seed + number**2])}

    def conclude(self, found: list[Tensors]) -> None:
        write_json(self.output, {"key": self.key, "sums": [int(each["sum"]) for each in found]})

    def is_concluded(self) -> bool:
        try:
            return bool(read_json(self.output)["key"] == self.key)
        except UserError:
            return False

    def check(self, number: int, found: Tensors) -> None:
        if number in self.refused:
            self.refused.remove(number)
            raise UserError("a picture is missing")

    @property
    def sums(self) -> list[int]:
        return [self.seed + number**2 for number in range(self.count)]


@contextlib.contextmanager
def without_locks() -> Iterator[None]:
    """A context in which each process gets every lock."""
    with mock.patch.object(chunks, "_is_free", return_value=True):
        yield


@settings(deadline=None, max_examples=60 * REPETITIONS)
@given(
    count=st.integers(1, 4),
    workers=st.integers(1, 4),
    choices=st.lists(st.integers(0, 11), max_size=120),
    deaths=st.dictionaries(st.integers(1, 5), st.integers(1, 40), max_size=4),
    others=st.integers(0, 2),
    locks=st.booleans(),
)
def test_any_schedule_gives_the_output_of_one_process(count, workers, choices, deaths, others, locks):
    """The output of some schedule is that of one process, and nothing else is left."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "sums.json")
        sums = Sums(output, count)
        another = Sums(Path(folder, "others.json"), count, seed=5)
        processes = Processes(choices, {name: step for name, step in deaths.items() if name})
        with processes.stepping(), contextlib.nullcontext() if locks else without_locks():
            ends = processes.run([*[sums.do] * workers, *[another.do] * others])
        # The first process never dies, so the work is done.
        assert all(end is None or (isinstance(end, Killed) and name) for name, end in enumerate(ends)), ends
        assert read_json(output) == {"key": sums.key, "sums": sums.sums}
        if others and ends[-1] is None:
            assert read_json(another.output)["sums"] == another.sums
        if locks and not any(isinstance(end, Killed) for end in ends):
            assert sorted(sums.computed) == list(range(count)), "each chunk is computed once"
        before = len(sums.computed)
        sums.do()  # A late starter finds the output.
        assert len(sums.computed) == before
        another.do()
        assert sorted(path.name for path in Path(folder).iterdir()) == ["others.json", "sums.json"]


def test_a_result_that_is_damaged_or_cannot_be_used_is_computed_again(tmp_path, caplog, monkeypatch):
    sums = Sums(tmp_path / "sums.json", 3)
    with monkeypatch.context() as patch:
        patch.setattr(sums, "conclude", mock.Mock(side_effect=UserError("disk full")))
        with pytest.raises(UserError, match="disk full"):
            sums.do()
    assert len(list(sums.folder.glob("*.safetensors"))) == 3, "finished work is kept"
    sums.path(1).write_bytes(b"damaged")
    sums.path(2).write_bytes(sums.path(0).read_bytes())
    sums.refused = [0]
    with caplog.at_level(logging.WARNING):
        sums.do()
    assert sums.computed == [0, 1, 2, 0, 1, 2]
    told = ["a picture", str(sums.path(1)), str(sums.path(2))]
    assert [message.partition(" is ")[0] for message in caplog.messages] == told
    assert read_json(sums.output)["sums"] == sums.sums
    assert not kind(tmp_path / "work")


def test_the_key_depends_on_all_facts(tmp_path):
    def work(facts: dict[str, object], count: int, output: str = "a") -> Work:
        found = mock.Mock()
        Work.__init__(found, tmp_path / output, facts, count)
        return found

    def key(*arguments: Any) -> str:
        return work(*arguments).key

    facts = {"b": 1, "a": [1, None]}
    assert work(facts, 3).folder != work(facts, 3, "b").folder, "outputs of equal work do not share results"
    assert key(facts, 3) == key(dict(reversed(facts.items())), 3, "b")
    assert len({key(facts, 3), key({**facts, "b": 2}, 3), key({"a": [1, None]}, 3), key(facts, 4)}) == 4
    own = key(facts, 3)
    with mock.patch("importlib.metadata.version", return_value="99"):
        assert key(facts, 3) != own


def test_only_files_of_the_work_are_removed(tmp_path):
    sums = Sums(tmp_path / "sums.json", 3)
    (sums.folder / "000009.lock").mkdir(parents=True)
    names = {"000009.lock", "notes.txt", "000001.png", ".000002.safetensors.txt"}
    for name in names - {"000009.lock"}:
        (sums.folder / name).touch()
    for name in ("000002.safetensors", "..conclusion.lock.json.0123abcd.part", ".000001.safetensors.0123abcd.part"):
        (sums.folder / name).touch()
    sums.do()
    assert read_json(sums.output)["sums"] == sums.sums
    assert {path.name for path in sums.folder.iterdir()} == names


def test_a_lock_is_held_while_a_chunk_is_computed(tmp_path):
    attempts: list[bool] = []

    def take_again() -> None:
        attempts.append(chunks.take(tmp_path / ".lock", lambda: False, lambda: pytest.fail("computed twice")))

    assert chunks.take(tmp_path / ".lock", lambda: False, take_again)
    assert attempts == [False]
    assert not chunks.take(tmp_path / ".lock", lambda: True, take_again)
    assert attempts == [False]


def test_a_single_chunk_is_not_shared(tmp_path):
    """An empty folder that is named like the one of shared chunks stays as it is."""
    sums = Sums(tmp_path / "sums.json", 1)
    (tmp_path / chunks.FOLDER).mkdir()
    with mock.patch.object(chunks, "acquire", side_effect=AssertionError):
        sums.do()
    sums.do()
    assert {path.name for path in tmp_path.iterdir()} == {"sums.json", chunks.FOLDER}


def test_an_output_that_cannot_be_written_is_found_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    with mock.patch.object(Sums, "compute", side_effect=AssertionError), pytest.raises(UserError, match="Not a dir"):
        Sums(tmp_path / "file" / "folder" / "sums.json", 1).do()


def test_who_is_waited_for_is_told_once(tmp_path, monkeypatch, caplog):
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("time.monotonic", lambda: float(len(pauses)))
    waiting = chunks.Waiting()
    with caplog.at_level(logging.INFO, "auxar"):
        for number in range(9):
            assert (caplog.messages != []) == (number > chunks.PATIENCE + 1)
            waiting.pause(tmp_path / ".lock")
    told = "waiting for another process, which works on a part of this; to go on, wait until it is done, or end it"
    assert caplog.messages == [told]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("key", ["none", "\0", "\ud800", "x" * 300])
def test_work_with_a_damaged_key_has_no_user(tmp_path, key):
    assert user_of_work(tmp_path / "out", key) is None
