"""Chunks of a command's work, which any process that runs the same command takes.

Work has a key, a digest of all facts that decide its result. The results of its chunks lie in a folder of `auxar-work/`
beside the output, until they are joined. Correctness does not rest on locks: a chunk's result is a function of the key
and of its number, is written whole and at once, and is checked when it is read. Locks only keep processes from doing
the same.
"""

import abc
import contextlib
import hashlib
import importlib.metadata
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from auxar.errors import UserError, logger
from auxar.files import (
    FILE,
    DamagedFile,
    entries,
    is_file,
    kind,
    read_tensors,
    refusing,
    remove,
    to_json,
    try_write,
    write_tensors,
)
from auxar.locks import ADVICE, acquire, holder, noted, user_of
from auxar.progress import BAR_DELAY, progress_bar
from auxar.work.processes import ALONE, Processes

FOLDER = "auxar-work"
"""Name of the folder, beside an output, of the results of chunks."""
CONCLUSION = "conclusion"
"""Name of the lock of the process that joins the results."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Minimum and maximum time in seconds after which a process that waits for others looks for a free chunk again."""
OWN = re.compile(rf"\.{{0,2}}(\d{{6,}}|{CONCLUSION})\.(safetensors|lock|lock\.json)(\.[a-z0-9]{{8}}\.part)?")
"""The names of files in the folder of results: results, locks and notes of their holders, also unfinished ones."""
PATIENCE = 5.0
"""Seconds after which a process that waits for others logs who holds a chunk."""

Tensors = dict[str, Tensor]
"""The result of a chunk: tensors by name."""


def part_of(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The tensors, or their shapes, whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _folder(output: Path, key: str) -> Path:
    """The folder of the results of chunks. Outputs beside each other may have equal keys."""
    place = hashlib.sha256(f"{key}/{output.name}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return output.parent / FOLDER / place


class Work(abc.ABC):
    """Work in numbered chunks, whose bounds and results depend on nothing but facts.

    A command makes its output by `do`. All processes that run the command with the same facts, on one or more machines
    that share the output's folder, then share the chunks, and a command that was stopped goes on. A chunk's result is
    kept in `auxar-work/` beside the output until all are joined.

    Examples:
        >>> import json, tempfile, torch
        >>> class Squares(Work):
        ...     def compute(self, number):
        ...         return {"square": torch.tensor(number**2)}
        ...
        ...     def conclude(self, found):
        ...         squares = [int(each["square"]) for each in found]
        ...         self.output.write_text(json.dumps({"key": self.key, "squares": squares}))
        ...
        ...     def is_concluded(self):
        ...         return self.output.is_file() and json.loads(self.output.read_text())["key"] == self.key
        >>> squares = Squares(Path(tempfile.mkdtemp()) / "squares.json", {"exponent": 2}, count=4)
        >>> squares.do()
        >>> json.loads(squares.output.read_text())["squares"]
        [0, 1, 4, 9]
    """

    def __init__(self, output: Path, facts: Mapping[str, Any], count: int) -> None:
        self.output = output
        """The file or folder that the work makes."""
        self.count = count
        """Number of chunks."""
        told = {**facts, "chunks": count, "version": importlib.metadata.version("auxar")}
        self.key = hashlib.sha256(to_json(dict(sorted(told.items()))).encode()).hexdigest()[:32]
        """A digest of the facts, which decide the result, and of the version of auxar: 32 hexadecimal digits. Facts are
        values by name, as JSON has them: options, and digests of weights and of images."""
        self.folder = _folder(output, self.key)
        """The folder of the results of chunks."""

    @abc.abstractmethod
    def compute(self, number: int) -> Tensors:
        """Returns the result of a chunk."""

    @abc.abstractmethod
    def conclude(self, found: list[Tensors]) -> None:
        """Writes the output, at once and such that `is_concluded` is then true, from the results of all chunks."""

    @abc.abstractmethod
    def is_concluded(self) -> bool:
        """Whether the output is there, with the key of this work."""

    def check(self, number: int, found: Tensors) -> None:  # noqa: B027
        """Raises `UserError` if the result of a chunk cannot be used, for example because another file is missing."""

    def do(self, description: str | None = None) -> None:
        """Does the work, together with all processes that run the same command, and returns when its output is made.

        The process that finds all chunks done makes the output. A result that is damaged or cannot be used is computed
        again. Work of a single chunk is not shared. With a `description`, a progress bar is shown.
        """
        if not self.is_concluded():
            try_write(self.output)
            if self.count == 1:
                self.conclude([self.compute(0)])
                return
        hidden = description is None
        with progress_bar(total=self.count, desc=description, unit="part", disable=hidden, delay=BAR_DELAY) as bar:
            waiting = Waiting()
            while not self.is_concluded():
                missing = [number for number in range(self.count) if not is_file(self.path(number))]
                bar.update(self.count - len(missing) - bar.n)
                if any(self._take(number) for number in missing):
                    waiting = Waiting()
                elif missing or not self._conclude():
                    waiting.pause(self._lock(missing[0] if missing else CONCLUSION))
        # The output now has the results of all chunks.
        for path in entries(self.folder):
            if OWN.fullmatch(path.name) and kind(path) == FILE:  # Others are the user's.
                remove(path)
        # An empty folder of this name in which no work was done is the user's.
        with contextlib.suppress(OSError):
            for folder in (self.folder, self.folder.parent):
                folder.rmdir()

    def path(self, number: int) -> Path:
        """The file with the result of a chunk."""
        return self.folder / f"{number:06d}.safetensors"

    def _take(self, number: int) -> bool:
        """Computes a chunk, unless another process holds it or has done it. Returns whether this process has."""
        path = self.path(number)

        def compute() -> None:
            write_tensors(path, self.compute(number), {"key": self.key, "chunk": str(number)})

        return take(self._lock(number), lambda: is_file(path) or self.is_concluded(), compute)

    def _conclude(self) -> bool:
        """Joins the results, unless another process does. Returns whether this process has."""
        with contextlib.suppress(_Gone):
            return take(
                self._lock(CONCLUSION),
                self.is_concluded,
                lambda: self.conclude([self._read(number) for number in range(self.count)]),
            )
        return False

    def _read(self, number: int) -> Tensors:
        """Reads the result of a chunk. Removes a result that is damaged or cannot be used, and raises `_Gone`."""
        path = self.path(number)
        if not is_file(path):
            raise _Gone
        try:
            tensors, metadata = read_tensors(path)
            if (metadata.get("key"), metadata.get("chunk")) != (self.key, str(number)):
                raise DamagedFile(f"{path} is damaged: it is the result of another part")
            self.check(number, tensors)
        except UserError as error:
            logger.warning("%s; this part is computed again", error)
            remove(path)
            raise _Gone from None
        return tensors

    def _lock(self, what: int | str) -> Path:
        name = what if isinstance(what, str) else f"{what:06d}"
        return self.folder / f".{name}.lock"


def take(lock: Path, is_done: Callable[[], bool], compute: Callable[[], None], processes: Processes = ALONE) -> bool:
    """Does a chunk while holding its lock, unless another worker holds it or has done it. Returns whether this one has.

    `processes` are the processes of this worker. The main process holds the lock, and all of them call `compute`.
    """
    with contextlib.ExitStack() as held:
        if not processes.from_main(processes.is_main and _is_free(lock, held) and not is_done()):
            return False
        compute()
    return True


def _is_free(path: Path, held: contextlib.ExitStack) -> bool:
    """Holds a lock until the end of `held`. Returns False if another process holds it."""
    with refusing(path.parent, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = acquire(path, timeout=0)
    if lock is not None:
        held.enter_context(noted(path, lock))
    return lock is not None


def user_of_work(output: Path, key: str) -> str | None:
    """The process that works on a chunk of an output, for the work with a key; None if there is none."""
    return next(filter(None, map(user_of, entries(_folder(output, key), ".*.lock"))), None)


class Waiting:
    """A wait for chunks that other workers hold."""

    def __init__(self) -> None:
        self.seconds = SHORTEST_PAUSE
        self.since = time.monotonic()
        self.told = False

    def pause(self, lock: Path) -> None:
        """Sleeps, longer each time. After `PATIENCE` seconds, logs once which process holds a lock."""
        if not self.told and time.monotonic() - self.since > PATIENCE:
            logger.info("waiting for %s, which works on a part of this; to go on, %s", holder(lock), ADVICE)
            self.told = True
        time.sleep(self.seconds)
        self.seconds = min(2 * self.seconds, LONGEST_PAUSE)


class _Gone(Exception):
    """The error for a result of a chunk that is not there any more, or was removed because it cannot be used."""
