"""Any recipe gives a result or the one error that users see: `auxar check` on recipes that are made at random.

    python tests/fuzz/recipes.py --count 100000 --seed 0 --processes 2
    python tests/fuzz/recipes.py --seed 0 --only 4711

A failure is any other exception, an error that is empty, long or not one line for each problem, more than `--seconds`
of computing for one recipe or three times as many of waiting, or more than `--memory` for the whole process. Each is
printed with its seed and number, with which `--only` makes it again. The exit status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import io
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from types import FrameType

import attrs
from cases import Case, make_case

from auxar.cli import check
from auxar.errors import UserError
from auxar.recipe import load_recipe, recipe_text
from auxar.recipe.loading import parse_recipe

CHUNK = 250
LONGEST_LINE = 2000
MOST_LINES = 30
GIB = 2**30
# A recipe that asks for ever more memory is to fail before the machine does.
MOST_DATA = 6 * GIB
THIN = '''
import attrs
from auxar.interfaces import View
from auxar.plugins import Component, hookimpl


@attrs.frozen
class ThinConfig:
    """Every so many pixels of a row."""

    every: int = 2
    share: float | None = None
    names: tuple[str, ...] = ()


class ThinView(View):
    def __init__(self, config, image):
        self.image = image
        self.view = attrs.evolve(image, width=-(-image.width // max(1, config.every)))

    def __call__(self, image):
        return image


@hookimpl
def auxar_register_components():
    return [Component("view", "thin", ThinConfig, ThinView)]
'''


class HangError(BaseException):
    """A recipe took too long. Not an `Exception`, so that nothing on the way takes it for one of its own."""


@attrs.frozen
class Limits:
    """What one recipe may take."""

    seconds: float
    """Of computing for one recipe; by the clock, which runs on while others compute, three times as many."""
    memory: float
    """GiB resident, of the process at any time."""


@attrs.frozen
class Outcome:
    """What became of one recipe."""

    number: int
    kind: str
    """`result`, `error` or `failure`."""
    words: str
    """The error, or how it failed."""
    seconds: float
    """Of computing."""
    memory: float
    """GiB resident, of the process up to then."""


def main() -> int:
    """Runs what the command line asks for; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="of computing for one recipe")
    parser.add_argument("--memory", type=float, default=2.0, help="GiB for a process")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this recipe alone, and what it is")
    options = parser.parse_args()
    limits = Limits(options.seconds, options.memory)
    if options.only is not None:
        return _one(options.seed, options.only, limits)
    start = time.monotonic()
    chunks = [range(first, min(first + CHUNK, options.count)) for first in range(0, options.count, CHUNK)]
    numbers = [range(chunk.start + options.first, chunk.stop + options.first) for chunk in chunks]
    outcomes = list(_shown(_spread(partial(outcomes_of, options.seed, limits=limits), numbers, options.processes)))
    _summary(outcomes, options.seed, time.monotonic() - start)
    return int(any(outcome.kind == "failure" for outcome in outcomes))


def _one(seed: int, number: int, limits: Limits) -> int:
    _prepare()
    case = make_case(seed, number)
    print(f"{case.recipe[:5000]!r}\n{len(case.recipe)} bytes; settings: {[text[:500] for text in case.settings]}")
    (outcome,) = outcomes_of(seed, [number], limits)
    print(f"{outcome.kind} in {outcome.seconds:.2f} s, {outcome.memory:.2f} GiB\n{outcome.words}")
    return int(outcome.kind == "failure")


def outcomes_of(seed: int, numbers: Iterable[int], limits: Limits) -> list[Outcome]:
    """What becomes of the recipes of these numbers."""
    with tempfile.TemporaryDirectory() as above, _watched():
        folder = Path(above) / "deep" / "recipe"
        furnish(folder)
        return [_outcome(number, make_case(seed, number), folder, limits) for number in numbers]


def furnish(folder: Path) -> None:
    """A recipe's folder with plugins beside it, and what may be mistaken for one."""
    folder.mkdir(parents=True)
    (folder / "thin.py").write_text(THIN)
    (folder / "broken.py").write_text("def (")
    (folder / "odd.py").write_bytes(b"\0\xff")
    (folder / "folder.py").mkdir()
    os.mkfifo(folder / "pipe.py")
    (folder / "loop.py").symlink_to(folder / "loop.py")


def check_recipe(case: Case, folder: Path) -> str:
    """The error that `auxar check` tells of the recipe, or nothing for one with a result.

    A result is read back from its own text as the same recipe. Whatever else goes wrong is raised.
    """
    path = folder / "recipe.toml"
    path.write_bytes(case.recipe)
    try:
        _command(path, case.settings)
    except UserError as error:
        return _told_well(str(error))
    recipe, _ = load_recipe(path, case.settings)
    assert parse_recipe(recipe_text(recipe), folder)[0] == recipe, "the recipe's own text gives another recipe"
    return ""


def _command(path: Path, settings: tuple[str, ...]) -> None:
    """The command itself, without its parser, for which a setting may be an option."""
    parser = argparse.ArgumentParser()
    check.add_to(parser.add_subparsers())
    options = parser.parse_args(["check", str(path)])
    options.settings = list(settings)
    with contextlib.redirect_stdout(io.StringIO()):
        options.command(options)


def _told_well(message: str) -> str:
    lines = message.split("\n")
    assert all(line.strip() for line in lines), f"an error with an empty line: {message[:500]!r}"
    assert len(lines) <= MOST_LINES, f"an error of {len(lines)} lines: {message[:500]!r}"
    assert max(map(len, lines)) <= LONGEST_LINE, f"an error of {max(map(len, lines))} characters: {message[:500]!r}"
    assert all(line.isprintable() for line in lines), f"an error with control characters: {message[:500]!r}"
    return message


def _outcome(number: int, case: Case, folder: Path, limits: Limits) -> Outcome:
    start = time.process_time()
    before = _peak()
    try:
        with _alarm(limits.seconds):
            error = check_recipe(case, folder)
        kind, words = ("error", error) if error else ("result", "")
    except HangError:
        kind, words = "failure", f"hangs: more than {limits.seconds:g} s\n{traceback.format_exc(-6)}"
    except Exception as error:
        kind, words = "failure", f"{type(error).__name__}: {str(error)[:500]}\n{traceback.format_exc(-6)[-3000:]}"
    peak = _peak()
    if peak > max(limits.memory, before):
        kind, words = "failure", f"memory: {peak:.2f} GiB, from {before:.2f}\n{words}"
    return Outcome(number, kind, words, time.process_time() - start, peak)


def _peak() -> float:
    """GiB that were resident at most so far."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**30 if sys.platform == "darwin" else 2**20)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Both alarms raise."""

    def hang(signum: int, frame: FrameType | None) -> None:
        raise HangError

    before = {number: signal.signal(number, hang) for number in (signal.SIGALRM, signal.SIGPROF)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepare() -> None:
    """What a process that does nothing else sets for itself."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, resource.getrlimit(resource.RLIMIT_DATA)[1]))


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    timers = {signal.ITIMER_PROF: seconds, signal.ITIMER_REAL: 3 * seconds}
    for timer, limit in timers.items():
        signal.setitimer(timer, limit)
    is_alone = multiprocessing.parent_process() is not None
    if is_alone:
        # What never comes back to Python never sees an alarm: then the process ends, and the one above tells of it.
        faulthandler.dump_traceback_later(6 * seconds, exit=True)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        if is_alone:
            faulthandler.cancel_dump_traceback_later()


def _spread(work: partial[list[Outcome]], chunks: list[range], processes: int) -> Iterator[list[Outcome]]:
    """The chunks' outcomes, from processes of their own, so that one that dies is told from one that fails."""
    context = multiprocessing.get_context("spawn")
    while chunks:
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare) as pool:
            futures = [pool.submit(work, chunk) for chunk in chunks]
            for future in futures:
                chunk, *chunks = chunks
                try:
                    yield future.result()
                except BrokenProcessPool:
                    # It takes those beside it along: the others go on in new ones.
                    died = f"a process died at recipes {chunk.start} … {chunk.stop - 1}, or beside them"
                    yield [Outcome(chunk.start, "failure", died, 0.0, 0.0)]
                    break


def _shown(chunks: Iterable[list[Outcome]]) -> Iterator[Outcome]:
    """Every outcome, with a line of progress for some and of each failure."""
    start = time.monotonic()
    done = 0
    for chunk in chunks:
        done += len(chunk)
        for outcome in chunk:
            if outcome.kind == "failure":
                print(f"number {outcome.number}: {outcome.words}", flush=True)
        yield from chunk
        if done % (CHUNK * 10) < len(chunk):
            print(f"{done} recipes, {done / (time.monotonic() - start):.0f} a second", flush=True)


def _summary(outcomes: list[Outcome], seed: int, seconds: float) -> None:
    kinds = Counter(outcome.kind for outcome in outcomes)
    counts = ", ".join(f"{kinds[kind]} {kind}s" for kind in ("result", "error", "failure"))
    print(f"\n{len(outcomes)} recipes in {seconds:.0f} s, {len(outcomes) / seconds:.0f} a second: {counts}")
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    print(f"slowest: number {slowest.number}, {slowest.seconds:.2f} s; ", end="")
    print(f"peak memory {max(outcome.memory for outcome in outcomes):.2f} GiB")
    examples: dict[str, list[int]] = collections.defaultdict(list)
    for outcome in outcomes:
        if outcome.kind == "error":
            examples[_first_words(outcome.words)].append(outcome.number)
    print("\nerrors by their first words, and the number of one recipe that gives each")
    for words, numbers in sorted(examples.items(), key=lambda item: -len(item[1])):
        print(f"{len(numbers):>7}  {words}  ({numbers[0]})")
    for outcome in outcomes:
        if outcome.kind == "failure":
            first = outcome.words.split("\n")[0]
            print(f"FAILED --seed {seed} --only {outcome.number}: {first[:300]}")


def _first_words(message: str) -> str:
    """What several errors have in common: the first one's words, without file, key, numbers and what is quoted."""
    line = message.split("\n")[0].rpartition("/recipe.toml: ")[2]
    if line.startswith("--set"):
        return f"--set …: {' '.join(line.rpartition(': ')[2].split()[-4:])}"
    line = re.sub(r"^[\w.\[\]-]+( \('\S+'\))?: ", "", line)
    return " ".join(re.sub(r"'[^']*'?|/\S+|\[?-?\d[\d.e+]*\]?", "…", line.partition("(")[0]).split()[:5])


if __name__ == "__main__":
    sys.exit(main())
