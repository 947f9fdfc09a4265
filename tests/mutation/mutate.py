"""Puts random mistakes into the code, one at a time, and reports which of them no test notices.

    python tests/mutation/mutate.py --record                         # run the suite once with coverage
    python tests/mutation/mutate.py --count 500 --seed 0 --processes 2
    python tests/mutation/mutate.py --count 500 --seed 0 --summary   # list the mistakes that were not noticed
    python tests/mutation/mutate.py --only 3f2a9c51d0b7              # try one of them again, and show the output

Mutants are drawn from auxar/ and plugins/: a comparison, an operator, a constant, a condition, a key, a pair of
arguments or of axes, an argument or a statement. All kinds are drawn equally often. Only the tests that run a changed
line are run, in copies of the repository.

`--folder` keeps the recorded coverage and the outcomes, so the same command continues after an interruption. After a
change of code or tests, record again; the same command then repeats the trials of mutants that no test noticed, whose
test is gone, or whose file changed. A mistake may delete files or signal processes, so run this in a container.

With `--limit 60`, tests that take more than 60 seconds together are not run on one mutant: tests in the folder that
mirrors the mutant's come first, then fast tests. A mutant that these tests do not notice counts as not noticed.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import importlib
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
from trial import OUTPUT, Outcome, attempt, copy_tree

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
    outcome: Outcome
    code: str
    """The checksum of the file of the mutant."""
    recording: str
    """The name of the recording of the tests."""

    def __str__(self) -> str:
        before, after = (
            repr(text if len(text) <= 100 else f"{text[:48]} … {text[-48:]}")
            for text in (self.mutant.before, self.mutant.after)
        )
        by = f" by {self.outcome.by}" if self.outcome.by else ""
        place = f"{self.mutant.file}:{self.mutant.line} {self.mutant.kind}"
        return f"{self.identity} {self.outcome.kind}: {place}: {before} → {after}{by}"


def recorded(path: Path) -> dict[str, Entry]:
    """The outcomes in a file by the identities of mutants. It has a JSON object a line; the last of a mutant counts."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        fields = json.loads(line)
        parts = {"mutant": Mutant(**fields["mutant"]), "outcome": Outcome(**fields["outcome"])}
        found[fields["identity"]] = Entry(**{**fields, **parts})
    return found


def is_known(mutant: Mutant, entry: Entry | None, selection: Selection) -> bool:
    """Whether the outcome of a mutant is known: nothing that could change it has changed."""
    if entry is None or entry.code != digests(ROOT, [mutant.file])[mutant.file]:
        return False
    return entry.recording == selection.name or (
        entry.outcome.kind not in UNNOTICED and entry.outcome.by in selection.seconds
    )


_copy: Path
_selection: Selection


def _prepare(folder: Path, copies: Path) -> None:
    """Imports the slow libraries once and makes the copy that this process changes."""
    global _copy, _selection
    os.environ["OMP_NUM_THREADS"] = "1"
    for module in ("accelerate", "datasets", "hypothesis", "torch"):
        importlib.import_module(module)
    _copy = Path(tempfile.mkdtemp(dir=copies)) / "auxar"
    copy_tree(ROOT, _copy)
    _selection = Selection(ROOT, folder)


def _try(identity: str, mutant: Mutant, limit: float, show: bool) -> Entry:
    """Tries a mutant with tests of up to `limit` seconds."""
    tests = _selection.tests(mutant)
    ends = itertools.accumulate(_selection.seconds[test] for test in tests)
    tests = tests[: max(1, sum(end <= limit for end in ends))]
    outcome = attempt(mutant, {test: _selection.seconds[test] for test in tests}, _copy)
    if show:
        print((_copy / OUTPUT).read_text(errors="replace"))
    return Entry(identity, mutant, outcome, digests(ROOT, [mutant.file])[mutant.file], _selection.name)


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
    path = options.folder / "outcomes.jsonl"
    known = recorded(path)
    if not options.summary:
        with (
            tempfile.TemporaryDirectory(prefix="copies-", dir=options.folder, ignore_cleanup_errors=True) as copies,
            ProcessPoolExecutor(options.processes, None, _prepare, (options.folder, Path(copies))) as pool,
        ):
            selection = Selection(ROOT, options.folder)
            show = options.only is not None
            names = [name for name in chosen if show or not is_known(mutants[name], known.get(name), selection)]
            names.sort(key=lambda name: selection.duration(mutants[name]))  # the fastest first
            futures = [pool.submit(_try, name, mutants[name], options.limit, show) for name in names]
            for future in as_completed(futures):
                entry = known[future.result().identity] = future.result()
                with path.open("a") as file:
                    file.write(json.dumps(attrs.asdict(entry)) + "\n")
                print(entry, flush=True)
    _summarize([known[identity] for identity in chosen if identity in known], len(chosen))
    return 0


def _summarize(entries: list[Entry], count: int) -> None:
    unnoticed = [entry for entry in entries if entry.outcome.kind in UNNOTICED]
    print("\nnot noticed:", *sorted(map(str, unnoticed)), sep="\n")
    outcomes = dict(collections.Counter(entry.outcome.kind for entry in entries))
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
