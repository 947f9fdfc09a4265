"""Shared code of the fuzzing scripts: limits of time and memory, worker processes, progress and a summary."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import multiprocessing
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

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
    """CPU time of one case. Ten times as much time may pass, since other processes run at the same time."""
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


def main(document: str, outcomes_of: Callable[..., list[Outcome]], brief: Callable[[str], str]) -> int:
    """Runs the cases that the command line selects; returns 1 if any of them failed, and otherwise 0.

    `document` describes the script. `outcomes_of(seed, numbers, limits=limits)` runs cases. `brief` shortens an error,
    so that similar errors are counted together.
    """
    options = parser(document).parse_args()
    work = partial(outcomes_of, options.seed, limits=Limits(options.seconds, options.memory))
    if options.only is not None:
        (found,) = work([options.only])
        print(f"{found.what}\n{found.kind}\n{found.words}")
        return int(found.kind == "failure")
    last, kinds, errors = options.first + options.count, Counter[str](), Counter[str]()
    parts = [range(first, min(first + CHUNK, last)) for first in range(options.first, last, CHUNK)]
    # A process that dies ends the script with a traceback.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context, initializer=prepare) as pool:
        for part, outcomes in zip(parts, pool.map(work, parts), strict=True):
            kinds.update(each.kind for each in outcomes)
            errors.update(brief(each.words) for each in outcomes if each.kind == "error")
            for each in outcomes:
                if each.kind == "failure":
                    print(f"FAILED --seed {options.seed} --only {each.number}: {each.what}\n{each.words}")
            print(f"{part.stop - options.first} of {options.count} cases: {dict(kinds)}", flush=True)
    for words, count in errors.most_common(MOST_ERRORS):
        print(f"{count:>7}  {words}")
    return int(kinds["failure"] > 0)


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


def prepare() -> None:
    """Sets up a process that only runs cases: crashes print a traceback, and memory is limited."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def outcome(number: int, what: str, attempt: Callable[[], str], limits: Limits) -> Outcome:
    """Runs one case, and returns its outcome.

    `attempt` returns the message of a `UserError`, or an empty string for a result. Any exception is a failure.
    """
    before = forget_peak()
    try:
        set_timers(limits.seconds)
        try:
            error = attempt()
        finally:
            set_timers(0)
        kind, words = ("error", error) if error else ("result", "")
    except HangError:
        kind, words = "failure", f"hangs: more than {limits.seconds:g} s\n{traceback.format_exc(-6)}"
    except Exception as error:
        kind, words = "failure", f"{type(error).__name__}: {str(error)[:500]}\n{traceback.format_exc(-6)[-3000:]}"
    if (highest := peak()) > max(limits.memory, before):
        kind, words = "failure", f"memory: a peak of {highest:.2f} GiB, {before:.2f} GiB before the case\n{words}"
    return Outcome(number, kind, words, what)


def set_timers(seconds: float) -> None:
    """Starts the timers of a case, or stops them if the time is 0."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)


def peak() -> float:
    """Returns the peak resident memory in GiB, since the last `forget_peak` if the system can reset it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def forget_peak() -> float:
    """Resets the peak resident memory if the system allows it; returns the current peak in GiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Makes the signals of the timers raise `HangError` inside the `with` block."""

    def hang(*arguments: object) -> None:
        raise HangError

    before = {number: signal.signal(number, hang) for number in (signal.SIGALRM, signal.SIGPROF)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
