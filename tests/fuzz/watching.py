"""Shared code of the fuzzing scripts: limits of time and memory, worker processes, progress and a summary."""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import multiprocessing
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from types import FrameType

import attrs

CHUNK = 250
MOST_ERRORS = 40
"""Largest number of different errors that the summary lists."""
MOST_DATA = 6 * 2**30
"""Bytes that a process may allocate, so that a leak fails before the machine runs out of memory."""


class HangError(BaseException):
    """Raised if a case takes too long. It is no `Exception`, so that `except Exception` does not catch it."""


@attrs.frozen
class Limits:
    """Limits of one case."""

    seconds: float
    """CPU seconds. Three times as many wall-clock seconds are allowed, since other processes run at the same time."""
    memory: float
    """Peak resident memory of the process, in GiB."""


@attrs.frozen
class Outcome:
    """The outcome of one case."""

    number: int
    kind: str
    """`result`, `error` or `failure`."""
    words: str
    """The message of an error, or a description of a failure; empty for a result."""
    what: str
    """Description of the case."""
    seconds: float
    """CPU seconds that the case took."""
    memory: float
    """Peak resident memory of the process during the case, in GiB."""


def main(document: str, outcomes_of: Callable[..., list[Outcome]], brief: Callable[[str], str]) -> int:
    """Runs the cases that the command line selects; returns 1 if any of them failed, and otherwise 0.

    `document` describes the script. `outcomes_of(seed, numbers, limits=limits)` runs cases. `brief` shortens an error,
    so that similar errors are counted together.
    """
    options = parser(document).parse_args()
    work = partial(outcomes_of, options.seed, limits=Limits(options.seconds, options.memory))
    if options.only is not None:
        prepare()
        (found,) = work([options.only])
        print(f"{found.what}\n{found.kind} in {found.seconds:.2f} s, {found.memory:.2f} GiB\n{found.words}")
        return int(found.kind == "failure")
    start = time.monotonic()
    outcomes = list(shown(spread(work, chunks(options), options.processes)))
    summarize(outcomes, options.seed, time.monotonic() - start, brief)
    return int(any(each.kind == "failure" for each in outcomes))


def parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the options that the fuzzing scripts share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--count", type=int, default=1000)
    made.add_argument("--first", type=int, default=0, help="number of the first case")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--processes", type=int, default=1)
    made.add_argument("--seconds", type=float, default=20.0, help="CPU seconds allowed for one case")
    made.add_argument("--memory", type=float, default=2.0, help="GiB of memory allowed for a process")
    made.add_argument("--only", type=int, metavar="NUMBER", help="run this case alone, and print it")
    return made


def outcome(number: int, what: str, attempt: Callable[[], str], limits: Limits) -> Outcome:
    """Runs one case, and returns its outcome.

    `attempt` returns the message of a `UserError`, or an empty string for a result. Any exception is a failure.
    """
    start = time.process_time()
    before = forget_peak()
    try:
        with _alarm(limits.seconds):
            error = attempt()
        kind, words = ("error", error) if error else ("result", "")
    except HangError:
        kind, words = "failure", f"hangs: more than {limits.seconds:g} s\n{traceback.format_exc(-6)}"
    except Exception as error:
        kind, words = "failure", f"{type(error).__name__}: {str(error)[:500]}\n{traceback.format_exc(-6)[-3000:]}"
    highest = peak()
    if highest > max(limits.memory, before):
        kind, words = "failure", f"memory: a peak of {highest:.2f} GiB, {before:.2f} GiB before the case\n{words}"
    return Outcome(number, kind, words, what, time.process_time() - start, highest)


def peak() -> float:
    """Returns the peak resident memory in GiB, since the last `forget_peak` if the system can reset it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**20
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**30 if sys.platform == "darwin" else 2**20)


def forget_peak() -> float:
    """Resets the peak resident memory if the system allows it; returns the current peak in GiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Makes the signals of both timers, CPU and wall clock, raise `HangError` inside the `with` block."""

    def hang(signum: int, frame: FrameType | None) -> None:
        raise HangError

    before = {number: signal.signal(number, hang) for number in (signal.SIGALRM, signal.SIGPROF)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    timers = {signal.ITIMER_PROF: seconds, signal.ITIMER_REAL: 3 * seconds}
    for timer, limit in timers.items():
        signal.setitimer(timer, limit)
    is_alone = multiprocessing.parent_process() is not None
    if is_alone:
        # A signal handler cannot interrupt native code that never returns to Python. Then this process exits, and its
        # parent reports it.
        faulthandler.dump_traceback_later(6 * seconds, exit=True)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        if is_alone:
            faulthandler.cancel_dump_traceback_later()


def prepare() -> None:
    """Sets up a process that only runs cases: crashes print a traceback, and memory is limited."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def chunks(options: argparse.Namespace) -> list[range]:
    """Splits the requested numbers of cases into ranges; a worker process handles one range at a time."""
    last = options.first + options.count
    return [range(first, min(first + CHUNK, last)) for first in range(options.first, last, CHUNK)]


def spread(work: Callable[[range], list[Outcome]], parts: list[range], processes: int) -> Iterator[list[Outcome]]:
    """Yields the outcomes of all parts.

    Worker processes run them, so that the death of a process and the failure of a case have different outcomes.
    """
    context = multiprocessing.get_context("spawn")
    while parts:
        with ProcessPoolExecutor(processes, mp_context=context, initializer=prepare) as pool:
            futures = [pool.submit(work, part) for part in parts]
            for future in futures:
                part, *parts = parts
                try:
                    yield future.result()
                except BrokenProcessPool:
                    # A process that dies breaks the whole pool. The remaining parts continue in a new pool.
                    died = f"a process died at the cases {part.start} … {part.stop - 1} or at others in progress"
                    yield [Outcome(part.start, "failure", died, "", 0.0, 0.0)]
                    break
                except Exception as error:
                    words = f"cases {part.start} … {part.stop - 1}: {type(error).__name__}: {error}\n{error.__cause__}"
                    yield [Outcome(part.start, "failure", words, "", 0.0, 0.0)]


def shown(found: Iterable[list[Outcome]]) -> Iterator[Outcome]:
    """Yields every outcome; prints each failure, and the progress from time to time."""
    start = time.monotonic()
    done = 0
    for part in found:
        done += len(part)
        for each in part:
            if each.kind == "failure":
                print(f"number {each.number}: {each.what}\n{each.words}", flush=True)
        yield from part
        if done % (CHUNK * 4) < len(part):
            print(f"{done} cases done, {done / (time.monotonic() - start):.1f} per second", flush=True)


def summarize(outcomes: list[Outcome], seed: int, seconds: float, brief: Callable[[str], str]) -> None:
    """Prints the number of outcomes of each kind, the most common errors, and the options that repeat each failure.

    `brief` shortens an error, so that similar errors are counted together.
    """
    kinds = Counter(each.kind for each in outcomes)
    counts = ", ".join(f"{kinds[kind]} {kind}s" for kind in ("result", "error", "failure"))
    print(f"\n{len(outcomes)} cases in {seconds:.0f} s, {len(outcomes) / seconds:.1f} per second: {counts}")
    slowest = max(outcomes, key=lambda each: each.seconds)
    largest = max(outcomes, key=lambda each: each.memory)
    print(f"slowest: number {slowest.number}, {slowest.seconds:.2f} s; ", end="")
    print(f"peak memory {largest.memory:.2f} GiB, number {largest.number}")
    examples: dict[str, list[int]] = collections.defaultdict(list)
    for each in outcomes:
        if each.kind == "error":
            examples[brief(each.words)].append(each.number)
    print("\nthe most common errors: count, first words, and the number of one case")
    commonest = sorted(examples.items(), key=lambda item: -len(item[1]))
    for words, numbers in commonest[:MOST_ERRORS]:
        print(f"{len(numbers):>7}  {words}  ({numbers[0]})")
    if len(commonest) > MOST_ERRORS:
        print(f"{sum(len(numbers) for _, numbers in commonest[MOST_ERRORS:]):>7}  other errors")
    for each in outcomes:
        if each.kind == "failure":
            first = each.words.split("\n")[0]
            print(f"FAILED --seed {seed} --only {each.number}: {first[:300]}")
