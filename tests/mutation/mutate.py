"""Puts random mistakes into the code, one at a time, and reports which of them no test notices.

    python tests/mutation/mutate.py --record                         # run the suite once with coverage
    python tests/mutation/mutate.py --count 500 --seed 0 --processes 2
    python tests/mutation/mutate.py --count 500 --seed 0 --summary   # list the mistakes that were not noticed
    python tests/mutation/mutate.py --only 3f2a9c51d0b7              # try one of them again, and show the output

Mutants are drawn from auxar/ and plugins/: a comparison, an operator, a constant, a condition, a key, a pair of
arguments or of axes, an argument or a statement. All kinds are drawn equally often. Only the tests that run a changed
line are run, in copies of the repository.

`--folder` keeps the recorded coverage and the outcomes, so the same command continues after an interruption. After a
change of code or tests, record again. A mistake may delete files or signal processes, so run this in a container.

With `--limit 60`, tests that take more than 60 seconds together are not run on one mutant: tests in the folder that
mirrors the mutant's come first, then fast tests. A mutant that these tests do not notice counts as not noticed.
"""

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
from recording import code_files, record
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


def told(identity: str, mutant: Mutant, outcome: Outcome) -> str:
    """The outcome of trying a mutant, as a line of text."""
    before, after = (
        repr(text if len(text) <= 100 else f"{text[:48]} … {text[-48:]}") for text in (mutant.before, mutant.after)
    )
    by = f" by {outcome.by}" if outcome.by else ""
    return f"{identity} {outcome.kind}: {mutant.file}:{mutant.line} {mutant.kind}: {before} → {after}{by}"


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


def _try(identity: str, mutant: Mutant, limit: float, show: bool) -> tuple[str, Outcome]:
    """Tries a mutant with tests of up to `limit` seconds."""
    tests = _selection.tests(mutant)
    ends = itertools.accumulate(_selection.seconds[test] for test in tests)
    tests = tests[: max(1, sum(end <= limit for end in ends))]
    outcome = attempt(mutant, {test: _selection.seconds[test] for test in tests}, _copy)
    if show:
        print((_copy / OUTPUT).read_text(errors="replace"))
    return identity, outcome


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
    path = options.folder / "recording" / "outcomes.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    known = {name: Outcome(**fields) for name, fields in map(json.loads, lines)}
    if not options.summary:
        with (
            tempfile.TemporaryDirectory(prefix="copies-", dir=options.folder, ignore_cleanup_errors=True) as copies,
            ProcessPoolExecutor(options.processes, None, _prepare, (options.folder, Path(copies))) as pool,
        ):
            selection = Selection(ROOT, options.folder)
            show = options.only is not None
            names = [name for name in chosen if show or name not in known]
            names.sort(key=lambda name: selection.duration(mutants[name]))  # the fastest first
            futures = [pool.submit(_try, name, mutants[name], options.limit, show) for name in names]
            for future in as_completed(futures):
                identity, outcome = future.result()
                known[identity] = outcome
                with path.open("a") as file:
                    file.write(json.dumps([identity, attrs.asdict(outcome)]) + "\n")
                print(told(identity, mutants[identity], outcome), flush=True)
    tried = [name for name in chosen if name in known]
    unnoticed = [told(name, mutants[name], known[name]) for name in tried if known[name].kind in UNNOTICED]
    print("\nnot noticed:", *sorted(unnoticed), sep="\n")
    share = 1 - len(unnoticed) / max(1, len(tried))
    outcomes = dict(collections.Counter(known[name].kind for name in tried))
    print(f"\n{share:.1%} of {len(tried)} mutants noticed: {outcomes}; {len(chosen) - len(tried)} to be tried")
    return 0


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
