"""Opens runs that were damaged at random. Each must give a result or a `UserError`.

    python tests/fuzz/run_files.py --count 10000 --seed 0 --processes 2
    python tests/fuzz/run_files.py --seed 0 --only 4711

Each case damages one or a few files of a copy of a tiny run, and then loads, reports, compares, continues, evaluates or
samples it. A case fails if it raises another exception, if its error is empty or too long, if it takes more than
`--seconds`, if the process needs more than `--memory`, or if anything changes outside the copy. Each failure is printed
with its number; `--only NUMBER` repeats it. The exit status is 1 if any case failed.
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
from damage import Place, copy_run, damage
from watching import Limits, Outcome

import auxar
from auxar.commands.evaluate import evaluate
from auxar.commands.figures import figures
from auxar.commands.run import run as run_recipe
from auxar.commands.sample import sample
from auxar.data import hub
from auxar.errors import UserError
from auxar.evaluation.comparison import compare_runs
from auxar.evaluation.stored import read_evaluation
from auxar.report import write_report
from auxar.report.comparison import comparison_page
from auxar.report.text import comparison_lines, evaluation_lines

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.tiny_runs import run, tiny, write_pictures

MOST_LINES = 30
LONGEST_ERROR = 10_000
MOST_DIMS = 100_000
"""Largest images, in sub-pixels, that are drawn. A damaged recipe may ask for an image that does not fit in memory."""
RECIPE = {
    "training__steps": 4,
    "training__checkpoint_every": 2,
    "training__keep_checkpoints": 2,
    "sampling__images": 1,
    "evaluation": {"train_images": 2, "heldout_images": 2},
}


@attrs.frozen
class Sources:
    """Intact runs, whose copies are damaged, and the folders next to them."""

    above: Path
    finished: Path
    stopped: Path
    """A copy of the finished run, in the state of a run that was interrupted while it trained the prior."""
    outside: Path
    """A folder of files that must not change."""

    @property
    def copy(self) -> Path:
        return self.above / "work" / "run"

    def state(self) -> dict[str, tuple[int, int]]:
        """Returns the sizes of all files and folders outside the copy, and the modification times of the files."""
        found = {}
        for folder, folders, files in os.walk(self.above):
            folders[:] = [name for name in folders if name != "cache" and Path(folder, name) != self.copy]
            for name in (*folders, *files):
                entry = os.lstat(os.path.join(folder, name))
                found[os.path.join(folder, name)] = (entry.st_size, 0 if name in folders else entry.st_mtime_ns)
        return found


def make_sources(above: Path) -> Sources:
    """Trains the run. The clock is a fake, so that its files are always the same."""
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
    """Returns the intact runs of this process, which are deleted when it ends."""
    above = Path(tempfile.mkdtemp(prefix="auxar-"))
    # Processes of a pool end without running the exit handlers of `atexit` and `TemporaryDirectory`.
    Finalize(None, shutil.rmtree, (above,), {"ignore_errors": True}, exitpriority=0)
    return make_sources(above)


# Actions on a run


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
    evaluation_lines(read_evaluation(evaluate(folder).evaluation))


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
    """An action on a damaged copy, and its description."""

    what: str
    attempt: Callable[[], str]


def make_case(found: Sources, seed: int, number: int) -> Case:
    """Makes the case with this number: replaces the previous copy by a new one, and damages it."""
    random = Random(f"{seed}/{number}")
    action = random.choice(list(ACTIONS))
    source = found.stopped if action == "continue" and random.random() < 0.7 else found.finished
    shutil.rmtree(found.copy, ignore_errors=True)
    (found.copy.parent / "evil.py").unlink(missing_ok=True)
    copy_run(source, found.copy)
    done = damage(random, Place(found.copy, found.outside), action)
    return Case(f"{action} {source.name}: {', '.join(done)}", partial(attempt, found, ACTIONS[action]))


def attempt(found: Sources, action: Callable[[Sources, Path], None]) -> str:
    """Runs the action on the copy; returns the message of a `UserError`, or an empty string if it succeeds.

    Other exceptions are raised, and changes outside the copy raise an `AssertionError`.
    """
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
        sources.cache_clear()  # Through hard links, intact runs may have changed, too.
        raise AssertionError(f"changed outside the copy: {changed[:5]}")
    return error


def _told_well(message: str) -> str:
    lines = message.split("\n")
    assert message.strip(), "an error without text"
    assert len(lines) <= MOST_LINES, f"an error of {len(lines)} lines: {message[:500]!r}"
    assert len(message) <= LONGEST_ERROR, f"an error of {len(message)} characters: {message[:500]!r}"
    return message


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses output and network access."""
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
    """Runs the cases with these numbers, and returns their outcomes."""
    found = []
    with watching.watched():
        for number in numbers:
            case = make_case(sources(), seed, number)
            found.append(watching.outcome(number, case.what, case.attempt, limits))
    return found


def _first_words(message: str) -> str:
    """Shortens an error to its first words, without paths, numbers and quotations: similar errors become equal."""
    line = message.split("\n")[0].replace(": ", " : ")
    return " ".join(re.sub(r"'[^']*'?|\S*/\S+|\[?-?\d[\d.e+]*\]?|[0-9a-f]{32}", "…", line).split()[:9])


if __name__ == "__main__":
    sys.exit(watching.main(__doc__ or "", outcomes_of, _first_words))
