"""Any damage to a run's folder gives a result or the one error that users see: runs that are damaged at random.

    python tests/fuzz/run_files.py --count 10000 --seed 0 --processes 2
    python tests/fuzz/run_files.py --seed 0 --only 4711

Each case is a copy of a tiny run with one or a few files damaged, and something that opens it: it is loaded, reported,
compared, continued, evaluated or drawn from. A failure is any other exception, an error that is empty or long, more
than `--seconds` for one case, more than `--memory` for the process, or anything that changes outside the copy. Each is
printed with its number, with which `--only` makes it again. The exit status is 1 if there is one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path
from random import Random
from unittest import mock

import attrs
import datasets
import torch
import watching
from accelerate.state import AcceleratorState
from damage import Place, copy_run, damage
from watching import Limits, Outcome

import auxar
from auxar.commands.evaluate import evaluate
from auxar.commands.figures import figures
from auxar.commands.sample import sample
from auxar.data import hub
from auxar.errors import UserError
from auxar.evaluation.comparison import compare_runs
from auxar.evaluation.records import Evaluation
from auxar.pipeline import run as run_recipe
from auxar.report import write_report
from auxar.report.comparison import comparison_page
from auxar.report.text import comparison_lines, evaluation_lines
from auxar.runs.records import read_record

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.tiny_runs import run, tiny, write_pictures

MOST_LINES = 30
LONGEST_ERROR = 10_000
MOST_DIMS = 100_000
"""Sub-pixels of an image that is drawn from a damaged run: its recipe may well ask for more than fits into memory."""
RECIPE = {
    "training__steps": 4,
    "training__checkpoint_every": 2,
    "training__keep_checkpoints": 2,
    "sampling__images": 1,
    "evaluation": {"train_images": 2, "heldout_images": 2},
}


@attrs.frozen
class Sources:
    """Runs to damage copies of, and what is beside them."""

    above: Path
    finished: Path
    stopped: Path
    """The same run as if it had ended within the prior's training."""
    outside: Path
    """Files that nothing may touch."""

    @property
    def copy(self) -> Path:
        return self.above / "work" / "run"

    def state(self) -> dict[str, tuple[int, int]]:
        """Size and time of everything but the copy."""
        found = {}
        for folder, folders, files in os.walk(self.above):
            folders[:] = [name for name in folders if name != "cache" and Path(folder, name) != self.copy]
            for name in (*folders, *files):
                entry = os.lstat(os.path.join(folder, name))
                found[os.path.join(folder, name)] = (entry.st_size, 0 if name in folders else entry.st_mtime_ns)
        return found


def make_sources(above: Path) -> Sources:
    """Trains the run. Times are made up, so that its files are the same each time."""
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    datasets.config.HF_DATASETS_CACHE = above / "cache"
    pictures = write_pictures(above / "pictures", count=12)
    with quiet(), mock.patch("time.perf_counter", side_effect=(k / 8 for k in itertools.count())):
        finished = run(above / "finished", tiny(pictures, **RECIPE))
        sample(finished, settings=["sampling.images=1", "sampling.rule=map"])
        figures(finished, rows=1)
    stopped = above / "stopped"
    shutil.copytree(finished, stopped)
    for name in ("factors/prior/weights", "factors/prior/training-000000004"):
        (stopped / f"{name}.safetensors").unlink()
    (stopped / "report.html").unlink()
    outside = above / "work" / "outside"
    (outside / "images").mkdir(parents=True)
    for name in ("precious", "images/000000.png", "metrics.jsonl"):
        (outside / name).write_bytes(b"precious")
    return Sources(above, finished, stopped, outside)


@functools.cache
def sources() -> Sources:
    """Those of this process, for as long as it lives."""
    above = Path(tempfile.mkdtemp(prefix="auxar-"))
    # Processes of a pool end without what `atexit` and `TemporaryDirectory` do.
    Finalize(None, shutil.rmtree, (above,), {"ignore_errors": True}, exitpriority=0)
    return make_sources(above)


# What is done with a run


def load(found: Sources, folder: Path) -> None:
    model = auxar.load(folder)
    if model.image.dims <= MOST_DIMS:
        model.log_prob(torch.zeros((1, *model.image.shape), dtype=torch.int64))
        model.sample(1)


def report(found: Sources, folder: Path) -> None:
    write_report(folder)


def compare(found: Sources, folder: Path) -> None:
    for paths in ([found.finished, folder], [folder, found.finished]):
        comparison = compare_runs(paths)
        comparison_lines(comparison)
        comparison_page(comparison)


def go_on(found: Sources, folder: Path) -> None:
    run_recipe(found.finished / "recipe.toml", out=folder)


def evaluate_again(found: Sources, folder: Path) -> None:
    evaluation_lines(read_record(evaluate(folder).evaluation, Evaluation))


def draw(found: Sources, folder: Path) -> None:
    sample(folder, settings=["sampling.images=1", "sampling.rule=map"])


ACTIONS: dict[str, Callable[[Sources, Path], None]] = {
    "load": load,
    "report": report,
    "compare": compare,
    "continue": go_on,
    "evaluate": evaluate_again,
    "draw": draw,
}


@attrs.frozen
class Case:
    """A damaged copy, and what is done with it."""

    what: str
    attempt: Callable[[], str]


def make_case(found: Sources, seed: int, number: int) -> Case:
    """The case of that number: damages a new copy in the place of the last."""
    random = Random(f"{seed}/{number}")
    action = random.choice(list(ACTIONS))
    source = found.stopped if action == "continue" and random.random() < 0.7 else found.finished
    shutil.rmtree(found.copy, ignore_errors=True)
    (found.copy.parent / "evil.py").unlink(missing_ok=True)
    copy_run(source, found.copy)
    done = damage(random, Place(found.copy, found.outside), action)
    return Case(f"{action} {source.name}: {', '.join(done)}", partial(attempt, found, ACTIONS[action]))


def attempt(found: Sources, action: Callable[[Sources, Path], None]) -> str:
    """The error that the action tells of the copy, or nothing for a result. Whatever else goes wrong is raised."""
    before = found.state()
    try:
        with quiet():
            action(found, found.copy)
        error = ""
    except UserError as raised:
        error = _told_well(str(raised))
    after = found.state()
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if changed:
        sources.cache_clear()  # The files of the copy are those of the run itself.
        raise AssertionError(f"changed outside the copy: {changed[:5]}")
    return error


def _told_well(message: str) -> str:
    lines = message.split("\n")
    assert message.strip(), "an error without words"
    assert len(lines) <= MOST_LINES, f"an error of {len(lines)} lines: {message[:500]!r}"
    assert len(message) <= LONGEST_ERROR, f"an error of {len(message)} characters: {message[:500]!r}"
    return message


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing is shown, asked of the network, or kept from one case to the next."""
    AcceleratorState._reset_state(reset_partial_state=True)
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            stack.enter_context(warnings.catch_warnings(action="ignore"))
            stack.enter_context(mock.patch.object(hub, "_reachable", return_value=False))
            yield
    finally:
        logging.disable(logging.NOTSET)


def outcomes_of(seed: int, numbers: Iterable[int], limits: Limits) -> list[Outcome]:
    """What becomes of the cases of these numbers."""
    found = []
    with watching.watched():
        for number in numbers:
            case = make_case(sources(), seed, number)
            found.append(watching.outcome(number, case.what, case.attempt, limits))
    return found


def main() -> int:
    """Runs what the command line asks for; 1 if anything failed."""
    options = watching.parser(__doc__ or "").parse_args()
    limits = Limits(options.seconds, options.memory)
    if options.only is not None:
        watching.prepare()
        (outcome,) = outcomes_of(options.seed, [options.only], limits)
        print(f"{outcome.what}\n{outcome.kind} in {outcome.seconds:.2f} s, {outcome.memory:.2f} GiB\n{outcome.words}")
        return int(outcome.kind == "failure")
    start = time.monotonic()
    work = partial(outcomes_of, options.seed, limits=limits)
    outcomes = list(watching.shown(watching.spread(work, watching.chunks(options), options.processes)))
    watching.summarize(outcomes, options.seed, time.monotonic() - start, _first_words)
    return int(any(outcome.kind == "failure" for outcome in outcomes))


def _first_words(message: str) -> str:
    """What several errors have in common: the first one's words, without paths, numbers and what is quoted."""
    line = message.split("\n")[0].replace(": ", " : ")
    return " ".join(re.sub(r"'[^']*'?|\S*/\S+|\[?-?\d[\d.e+]*\]?|[0-9a-f]{32}", "…", line).split()[:9])


if __name__ == "__main__":
    sys.exit(main())
