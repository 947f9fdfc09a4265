"""Locks of the factors of a run, which several calls may train at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from auxar.distributed.processes import Processes
from auxar.files import entries, is_file, read_bytes
from auxar.recipe import Recipe, recipe_text
from auxar.runs.layout import RunFolder
from auxar.runs.lock import holding_for_all
from auxar.runs.opening import recipe_of_run


@contextlib.contextmanager
def holding_factors(run: RunFolder, names: Sequence[str], processes: Processes) -> Iterator[None]:
    """Holds the locks of the folders of factors. The caller has checked the run's folder."""
    with contextlib.ExitStack() as held:
        for name in sorted(names):
            held.enter_context(holding_for_all(run.factor(name), processes, lambda _: None))
        yield


@contextlib.contextmanager
def holding_others_if_replaced(
    run: RunFolder, recipe: Recipe, held: Sequence[str], processes: Processes
) -> Iterator[None]:
    """Holds the locks of all factors, except for those in `held`, if the run's stored recipe is replaced.

    The settings of a run may change, and before its first checkpoint all of its recipe, but not while another call
    trains one of its factors.
    """
    with processes.agreeing() as facts:
        text = recipe_text(recipe_of_run(recipe)).encode()
        is_replaced = is_file(run.recipe) and read_bytes(run.recipe) != text
        names = [path.name for path in entries(run.path, "factors/*")] if is_replaced else []
        facts["the factors in the folder"] = names
    with holding_factors(run, [name for name in names if name not in held], processes):
        yield
