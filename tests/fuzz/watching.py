"""What a script that tries very many cases needs: alarms, memory, processes of its own, progress and a summary."""

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
from pathlib import Path
from types import FrameType

import attrs

CHUNK = 250
MOST_ERRORS = 40
"""That a summary tells of."""
# What asks for ever more memory is to fail before the machine does.
MOST_DATA = 6 * 2**30


class HangError(BaseException):
    """A case took too long. Not an `Exception`, so that nothing on the way takes it for one of its own."""


@attrs.frozen
class Limits:
    """What one case may take."""

    seconds: float
    """Seconds of computing; the clock may show three times as many, since others compute meanwhile."""
    memory: float
    """GiB resident, of the process at any time."""


@attrs.frozen
class Outcome:
    """What became of one case."""

    number: int
    kind: str
    """`result`, `error` or `failure`."""
    words: str
    """The error, or how it failed."""
    what: str
    """What was tried."""
    seconds: float
    """Seconds of computing."""
    memory: float
    """GiB resident at most."""


def parser(description: str) -> argparse.ArgumentParser:
    """The options that such scripts share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--count", type=int, default=1000)
    made.add_argument("--first", type=int, default=0, help="number of the first case")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--processes", type=int, default=1)
    made.add_argument("--seconds", type=float, default=20.0, help="of computing for one case")
    made.add_argument("--memory", type=float, default=2.0, help="GiB for a process")
    made.add_argument("--only", type=int, metavar="NUMBER", help="this case alone, and what it is")
    return made


def outcome(number: int, what: str, attempt: Callable[[], str], limits: Limits) -> Outcome:
    """Tries one case: `attempt` returns the error that a user sees, nothing for a result, and raises what is wrong."""
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
        kind, words = "failure", f"memory: {highest:.2f} GiB, from {before:.2f}\n{words}"
    return Outcome(number, kind, words, what, time.process_time() - start, highest)


def peak() -> float:
    """GiB that were resident at most, since `forget_peak` where the system can forget."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**20
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**30 if sys.platform == "darwin" else 2**20)


def forget_peak() -> float:
    """Counts the peak anew, and returns what it is now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Both alarms raise."""

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
        # What never comes back to Python never sees an alarm: then the process ends, and the one above tells of it.
        faulthandler.dump_traceback_later(6 * seconds, exit=True)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        if is_alone:
            faulthandler.cancel_dump_traceback_later()


def prepare() -> None:
    """What a process that does nothing else sets for itself."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def chunks(options: argparse.Namespace) -> list[range]:
    """The numbers that the options ask for, in parts that a process does at once."""
    last = options.first + options.count
    return [range(first, min(first + CHUNK, last)) for first in range(options.first, last, CHUNK)]


def spread(work: Callable[[range], list[Outcome]], parts: list[range], processes: int) -> Iterator[list[Outcome]]:
    """The parts' outcomes, from processes of their own, so that one that dies is told from one that fails."""
    context = multiprocessing.get_context("spawn")
    while parts:
        with ProcessPoolExecutor(processes, mp_context=context, initializer=prepare) as pool:
            futures = [pool.submit(work, part) for part in parts]
            for future in futures:
                part, *parts = parts
                try:
                    yield future.result()
                except BrokenProcessPool:
                    # It takes those beside it along: the others go on in new ones.
                    died = f"a process died at {part.start} … {part.stop - 1}, or beside them"
                    yield [Outcome(part.start, "failure", died, "", 0.0, 0.0)]
                    break
                except Exception as error:
                    words = f"at {part.start} … {part.stop - 1}, {type(error).__name__}: {error}\n{error.__cause__}"
                    yield [Outcome(part.start, "failure", words, "", 0.0, 0.0)]


def shown(found: Iterable[list[Outcome]]) -> Iterator[Outcome]:
    """Every outcome, with a line of progress for some and of each failure."""
    start = time.monotonic()
    done = 0
    for part in found:
        done += len(part)
        for each in part:
            if each.kind == "failure":
                print(f"number {each.number}: {each.what}\n{each.words}", flush=True)
        yield from part
        if done % (CHUNK * 4) < len(part):
            print(f"{done} done, {done / (time.monotonic() - start):.1f} a second", flush=True)


def summarize(outcomes: list[Outcome], seed: int, seconds: float, brief: Callable[[str], str]) -> None:
    """Prints how many there are of each kind, the commonest errors, and how to make each failure again.

    `brief` is what several errors have in common.
    """
    kinds = Counter(each.kind for each in outcomes)
    counts = ", ".join(f"{kinds[kind]} {kind}s" for kind in ("result", "error", "failure"))
    print(f"\n{len(outcomes)} cases in {seconds:.0f} s, {len(outcomes) / seconds:.1f} a second: {counts}")
    slowest = max(outcomes, key=lambda each: each.seconds)
    largest = max(outcomes, key=lambda each: each.memory)
    print(f"slowest: number {slowest.number}, {slowest.seconds:.2f} s; ", end="")
    print(f"peak memory {largest.memory:.2f} GiB, number {largest.number}")
    examples: dict[str, list[int]] = collections.defaultdict(list)
    for each in outcomes:
        if each.kind == "error":
            examples[brief(each.words)].append(each.number)
    print("\nerrors by their first words, and the number of one case that gives each")
    commonest = sorted(examples.items(), key=lambda item: -len(item[1]))
    for words, numbers in commonest[:MOST_ERRORS]:
        print(f"{len(numbers):>7}  {words}  ({numbers[0]})")
    if len(commonest) > MOST_ERRORS:
        print(f"{sum(len(numbers) for _, numbers in commonest[MOST_ERRORS:]):>7}  that are rarer")
    for each in outcomes:
        if each.kind == "failure":
            first = each.words.split("\n")[0]
            print(f"FAILED --seed {seed} --only {each.number}: {first[:300]}")
