"""Puts random mistakes into the code, one at a time, and reports which of them no test notices.

    python tests/mutation/mutate.py --record                         # run the suite once with coverage
    python tests/mutation/mutate.py --count 500 --seed 0 --processes 2
    python tests/mutation/mutate.py --count 500 --seed 0 --summary   # list the mistakes that were not noticed
    python tests/mutation/mutate.py --only 3f2a9c51d0b7              # try one of them again, and show the output

Mutants are drawn from auxar/ and plugins/: a comparison, an operator, a constant, a condition, a key, a pair of
arguments or of axes, an argument or a statement. All kinds are drawn equally often. Only the tests that run a changed
line are run, in copies of the repository.

`--folder` keeps the recorded coverage and the outcomes, so the same command continues after an interruption. After a
change of some tests, `--record tests/FILE…` runs these files again, and the same command then repeats only the trials
that the changes concern: mutants that no test noticed, whose test is gone, or whose file changed. A mistake may delete
files or signal processes, so run this in a container.

With `--limit 60`, tests that take more than 60 seconds together are not run on one mutant: tests in the folder that
mirrors the mutant's come first, then fast tests. A mutant that these tests do not notice counts as not noticed, and the
next run of the command tries further tests on it.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import itertools
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import attrs
from cpp_mutants import cpp_mutants
from mutants import Mutant, identities
from python_mutants import is_python, python_mutants
from recording import code_files, digests, record
from selection import Selection
from trial import OUTPUT, attempt, copy_tree

ROOT = Path(__file__).parents[2]
UNNOTICED = ("survived", "untested")


def all_mutants() -> dict[str, Mutant]:
    """All mutants of the code by their identities."""
    found: dict[str, Mutant] = {}
    for name in code_files(ROOT):
        source = (ROOT / name).read_bytes()
        mutants = python_mutants(name, source) if name.endswith(".py") else list(cpp_mutants(name, source))
        found |= identities(mutants, source)
    return found


def drawn(mutants: dict[str, Mutant], seed: int) -> Iterator[str]:
    """Yields the identities of random mutants without repetition, each kind equally often until it is used up.

    The place of a mutant in this order depends on the seed and its identity, so most draws outlive changes of the code.
    """
    order = sorted(mutants, key=lambda identity: hashlib.sha256(f"{seed} {identity}".encode()).digest())
    of_kind: dict[str, list[str]] = collections.defaultdict(list)
    for identity in order:
        of_kind[mutants[identity].kind].append(identity)
    for round_ in itertools.zip_longest(*(of_kind[kind] for kind in sorted(of_kind))):
        for identity in filter(None, round_):
            mutant = mutants[identity]
            if not mutant.file.endswith(".py") or is_python(mutant.applied((ROOT / mutant.file).read_bytes())):
                yield identity


@attrs.frozen
class Entry:
    """The outcome of trying one mutant, as a line of the record."""

    identity: str
    mutant: Mutant
    outcome: str
    """`caught`, `survived`, `endless` or `untested`."""
    by: str
    """The test that noticed the mutant. Empty if tests could not be imported, or did not end."""
    error: str
    """The first line of the error."""
    seconds: float
    code: str
    """The checksum of the file of the mutant."""
    tried: dict[str, str]
    """The tests that did not notice it, with the checksums of their files."""

    def __str__(self) -> str:
        change = f"{_short(self.mutant.before)} → {_short(self.mutant.after)}"
        by = f" by {self.by}" if self.by else ""
        return f"{self.identity} {self.outcome}: {self.mutant.file}:{self.mutant.line} {self.mutant.kind}: {change}{by}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:48]} … {text[-48:]}")


class Record:
    """The outcomes in a file, one JSON object a line. The last line of a mutant counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            fields = json.loads(line)
            self.entries[fields["identity"]] = Entry(**{**fields, "mutant": Mutant(**fields["mutant"])})

    def add(self, entry: Entry) -> None:
        self.entries[entry.identity] = entry
        with self.path.open("a") as file:
            file.write(json.dumps(attrs.asdict(entry)) + "\n")


def remaining(mutant: Mutant, entry: Entry | None, selection: Selection) -> list[str]:
    """The tests that are still to be run on a mutant: none, if its outcome is known."""
    tests = selection.tests(mutant)
    code = digests(ROOT, [mutant.file])[mutant.file]
    if entry is None or entry.code != code or (entry.by and entry.by not in selection.seconds):
        return tests
    if entry.outcome not in UNNOTICED:
        return []
    return [test for test, checksum in _checksums(tests).items() if entry.tried.get(test) != checksum]


def _checksums(tests: list[str]) -> dict[str, str]:
    """The checksum of the file of each test."""
    of_files = digests(ROOT, {test.split("::")[0] for test in tests})
    return {test: of_files[test.split("::")[0]] for test in tests}


_copy: Path
_selection: Selection


def _prepare(folder: Path, copies: Path) -> None:
    """Imports the slow libraries once and makes the copy that this process changes."""
    global _copy, _selection
    os.environ["OMP_NUM_THREADS"] = "1"
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import hypothesis  # noqa: F401
    import torch  # noqa: F401

    _copy = Path(tempfile.mkdtemp(dir=copies)) / "auxar"
    copy_tree(ROOT, _copy)
    _selection = Selection(ROOT, folder)


def _try(identity: str, mutant: Mutant, entry: Entry | None, limit: float, show: bool) -> Entry | None:
    """Tries a mutant with tests of up to `limit` seconds. Returns None if its outcome is known already."""
    tests = remaining(mutant, entry, _selection)
    if not tests and entry is not None:
        return None
    ends = itertools.accumulate(_selection.seconds[test] for test in tests)
    count = max(1, sum(end <= limit for end in ends))
    tests = tests[:count]
    outcome = attempt(mutant, {test: _selection.seconds[test] for test in tests}, _copy)
    if show:
        print((_copy / OUTPUT).read_text(errors="replace"))
    code = digests(ROOT, [mutant.file])[mutant.file]
    tried = _checksums(tests) if outcome.kind in UNNOTICED else {}
    if entry is not None and entry.code == code:
        tried = {**entry.tried, **tried}
    return Entry(identity, mutant, outcome.kind, outcome.by, outcome.error, round(outcome.seconds, 1), code, tried)


def main() -> int:
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.record is not None:
        record(ROOT, options.folder, options.record)
        return 0
    mutants = all_mutants()
    if options.only is not None and options.only not in mutants:
        sys.exit(f"no mutant of the present code is called {options.only}")
    chosen = [options.only] if options.only else list(itertools.islice(drawn(mutants, options.seed), options.count))
    known = Record(options.folder / "outcomes.jsonl")
    if not options.summary:
        with (
            tempfile.TemporaryDirectory(prefix="copies-", dir=options.folder, ignore_cleanup_errors=True) as copies,
            ProcessPoolExecutor(options.processes, None, _prepare, (options.folder, Path(copies))) as pool,
        ):
            show = options.only is not None
            entries = {identity: None if show else known.entries.get(identity) for identity in chosen}
            selection = Selection(ROOT, options.folder)
            order = sorted(entries, key=lambda name: selection.duration(mutants[name]))  # the fastest first
            futures = [pool.submit(_try, name, mutants[name], entries[name], options.limit, show) for name in order]
            for future in as_completed(futures):
                if (entry := future.result()) is not None:
                    known.add(entry)
                    print(entry, flush=True)
    _summarize([known.entries[identity] for identity in chosen if identity in known.entries], len(chosen))
    return 0


def _summarize(entries: list[Entry], count: int) -> None:
    unnoticed = [entry for entry in entries if entry.outcome in UNNOTICED]
    print("\nnot noticed:", *sorted(map(str, unnoticed)), sep="\n")
    outcomes = dict(collections.Counter(entry.outcome for entry in entries))
    noticed = len(entries) - len(unnoticed)
    print(f"\n{noticed} of {len(entries)} mutants noticed ({noticed / max(1, len(entries)):.1%}): {outcomes}")
    if len(entries) < count:
        print(f"{count - len(entries)} are still to be tried")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", nargs="*", metavar="TESTS", help="run all or some files of tests with coverage")
    parser.add_argument("--count", type=int, default=100, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds of tests for each mutant")
    parser.add_argument("--summary", action="store_true", help="only show the outcomes so far")
    parser.add_argument("--only", metavar="MUTANT", help="try this mutant alone")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "auxar-mutation")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
