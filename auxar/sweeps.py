"""Several runs of one recipe: with several seeds, and with each combination of values of its keys.

Every run has a folder of its own, which is named after its values, such as `learning_rate=0.001,seed=0`.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from auxar.arguments import check_strings, described
from auxar.errors import UserError, logger, one_line
from auxar.evaluation.evaluated_run import SEED
from auxar.files import is_file
from auxar.pipeline import run_pipeline
from auxar.recipe import Recipe
from auxar.recipe.building import checked_model
from auxar.recipe.facts import short_keys
from auxar.recipe.options import key_parts
from auxar.recipe.structuring import is_value, toml_text, toml_value
from auxar.runs.layout import RunFolder
from auxar.training.beginning import Task
from auxar.training.factors import chosen_factors
from auxar.training.speed import stored_steps
from auxar.work.processes import working_together

MOST_RUNS = 1000
"""Maximum number of runs of a sweep."""
Load = Callable[[Sequence[str]], Recipe]
"""Loads a recipe with `key=value` settings."""
Values = Mapping[str, list[Any]]
"""The values of each key of a sweep."""


def run_all(
    load: Load,
    folder: Path,
    settings: Sequence[str],
    sweep: Mapping[str, Sequence[Any]] | Sequence[str],
    seeds: int | None,
    only: Sequence[str],
    *,
    train_only: bool,
    wait: bool,
) -> dict[Path, bool]:
    """Runs a recipe with `settings`, each combination of the values in `sweep` and each seed, like `auxar.run`.

    All recipes are checked before anything is written. Processes that call this function with the same arguments share
    the runs: a process first does all that no other one does, in every run, and then waits for the others. Returns what
    `run_pipeline` returns, by the folder of each run, which is in `folder`.
    """
    check_strings(settings, "settings", "key=value strings")
    values = sweep_values(sweep)
    with working_together() as processes, processes.agreeing() as facts:
        if is_file(RunFolder(folder).recipe):
            raise UserError(f"{folder} is the folder of a run; choose another folder for several runs with --out")
        runs = {folder / name: own for name, own in _runs(load, folder, settings, values, seeds, only)}
        facts["the runs"] = list(map(str, runs))

    paths = list(runs)

    def run(path: Path, *, wait: bool) -> bool:
        logger.info("run %s", path)
        number = paths.index(path)
        first = RunFolder(paths[number - number % (seeds or 1)])

        def load_own() -> Recipe:
            # Runs that differ only in their seed have equal numbers of steps, even if these were measured.
            recipe = load(runs[path])
            return recipe.with_steps(stored_steps(first, recipe))

        return run_pipeline(load_own, RunFolder(path), only, train_only=train_only, wait=wait)

    done = {path: run(path, wait=False) for path in runs}
    return {path: found or (wait and run(path, wait=True)) for path, found in done.items()}


def sweep_values(sweep: Mapping[str, Sequence[Any]] | Sequence[str]) -> dict[str, list[Any]]:
    """The values of each key of a sweep, from a mapping or from texts such as `training.steps=100,200`.

    Raises `UserError` if a text is no such text, or if a key has no values.

    Examples:
        >>> sweep_values(["training.steps=100,200", "data.path=first,second"])
        {'training.steps': [100, 200], 'data.path': ['first', 'second']}
    """
    if isinstance(sweep, Mapping):
        found = {str(key): values for key, values in sweep.items()}
    else:
        check_strings(sweep, "sweep", "key=value,value… strings")
        found = dict(map(_parsed, sweep))
        if len(found) < len(sweep):
            raise UserError("sweep: expected each key once, with all of its values")
    for key, values in found.items():
        if not isinstance(values, list | tuple) or not values:
            raise UserError(f"sweep: {one_line(key)}: expected a list of values, got {described(values)}")
    return {key: list(values) for key, values in found.items()}


def _parsed(text: str) -> tuple[str, list[Any]]:
    key, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise UserError(f"--sweep {one_line(text)}: expected KEY=VALUE,VALUE…, such as training.steps=100,200")
    if is_value(f"[{values}]"):
        return key.strip(), list(toml_value(f"[{values}]"))
    return key.strip(), [toml_value(value.strip()) for value in values.split(",")]


def _runs(
    load: Load, folder: Path, settings: Sequence[str], values: Values, seeds: int | None, only: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """Yields the name and the settings of every run, after a check of its recipe, and of the images if it is new.

    Raises `UserError` if a recipe is invalid, if the seeds are given twice, or if there are
    too many runs.
    """
    if seeds is not None and any(key_parts(key) == key_parts(SEED) for key in values):
        raise UserError(f"sweep: {SEED} is the key of the seeds; give either the seeds or this key")
    if (count := math.prod(map(len, values.values())) * (seeds or 1)) > MOST_RUNS:
        raise UserError(f"expected at most {MOST_RUNS:,} runs, got {count:,}; give fewer values or fewer seeds")
    ends = short_keys(values)
    options = [_options(key, ends[key], each) for key, each in values.items()]
    checked: list[tuple[Any, ...]] = []
    for chosen in itertools.product(*(option.items() for option in options)):
        names, own = [name for name, _ in chosen], [*settings, *(setting for _, setting in chosen)]
        recipe = load(own)
        first, factors = recipe.training.seed, chosen_factors(recipe, only)
        runs = {
            ",".join([*names, f"seed={seed}"]): [*own, f"{SEED}={seed}"] for seed in range(first, first + (seeds or 0))
        }
        runs = runs or {",".join(names): own}
        load(list(runs.values())[-1])
        network, views = checked_model(recipe), [stage.view for stage in recipe.stage]
        used = recipe.image, views, recipe.condition, *map(recipe.data_of, recipe.factor_names)
        new = [run for name in runs if not is_file((run := RunFolder(folder / name)).recipe)]
        if new and used not in checked:
            checked.append(used)
            _ = Task(new[0], recipe, network, factors).data
        yield from runs.items()


def _options(key: str, end: str, values: Sequence[Any]) -> dict[str, str]:
    """The settings of a key, each by its part of a folder's name. Raises `UserError` if two have the same name."""
    found: dict[str, str] = {}
    for value in values:
        text = _toml(value, key)
        name = f"{_name(end)}={_name(value if isinstance(value, str) else text)}"
        if name in found:
            told = f"the values {found[name].partition('=')[2]} and {text} have the same folder, {name}"
            raise UserError(f"sweep: {one_line(key)}: {told}; give only one of them")
        found[name] = f"{key}={text}"
    return found


def _toml(value: Any, key: str) -> str:
    """A value as TOML on one line. Raises `UserError` if TOML cannot represent it."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{json.dumps(str(name))} = {_toml(entry, key)}' for name, entry in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(entry, key) for entry in value)}]"
    if not isinstance(value, str | int | float):
        raise UserError(f"sweep: {one_line(key)}: expected values of TOML, got {described(value)}")
    return toml_text(value)


def _name(text: str) -> str:
    """A text as a part of a folder's name, in which hyphens replace spaces, slashes and other signs."""
    return re.sub(r"[^\w.+-]+", " ", text).strip().replace(" ", "-")
