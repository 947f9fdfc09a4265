"""Functions that begin or continue a run with a recipe, and that open an existing run."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError, one_line
from auxar.files import entries, is_file, read_bytes, read_checksum, remove, replacing
from auxar.leftovers import ABANDONED_AFTER, unfinished
from auxar.recipe import Recipe, fill_in, load_recipe_of_run, read_recipe, recipe_table, recipe_text
from auxar.recipe.facts import differences, packages_of, recipe_facts
from auxar.recipe.schema import LENGTHS
from auxar.recipe.structuring import unstructure
from auxar.runs.format import needing_packages, write_format
from auxar.runs.history import LEARNING_RATE, RATES
from auxar.runs.layout import RunFolder, check_folder
from auxar.runs.models import find_run

# The parts of a recipe that may change when a run is continued, because they do not define the model or its training
# objective: whole tables, keys of [training], and other keys.
FREE_TABLES = ("arithmetic", "evaluation", "sampling")
FREE_KEYS = (
    "checkpoint_every",
    "compile",
    "keep_checkpoints",
    "log_every",
    "nonfinite",
    "recompute",
    "sample_every",
    "trackers",
    *LENGTHS,
    *RATES,
)
FREE_PATHS = (f"training.optimizer.{LEARNING_RATE}", "data.workers", "training.data.workers")


def recipe_of_run(recipe: Recipe) -> Recipe:
    """The recipe that a run's folder stores: `recipe` with the names of the copies of its plugin files."""
    return attrs.evolve(recipe, plugins=tuple(f"plugins/{Path(file).name}" for file in recipe.plugins))


def stores(run: RunFolder, recipe: Recipe) -> bool:
    """Whether the run's folder has exactly this recipe."""
    return _holds(run.recipe, recipe_text(recipe_of_run(recipe)).encode())


def begin_run(path: Path, recipe: Recipe) -> None:
    """Creates a run's folder, or reopens it to continue the run.

    The plugin files of the recipe are written into the folder with the content that was loaded. Temporary files that
    killed processes left in the folder are removed.

    Raises `UserError`, and changes nothing, if `path` exists and is not a run's folder, or if `check_recipe` refuses
    the recipe.
    """
    run = RunFolder(path)
    check_folder(path)
    check_recipe(run, recipe)
    folders = (run.samples, run.samples / "images", run.figures, path / "plugins", *entries(path, "factors/*"))
    for folder in (path, *folders):
        for left in unfinished(folder, unchanged=ABANDONED_AFTER):
            remove(left)
    # run.json is written first, because only a folder with this file is recognized as a run and can be continued.
    write_format(path, packages_of(recipe))
    _write_if_new(run.recipe, recipe_text(recipe_of_run(recipe)).encode())
    for file, content in recipe.registry.files.items():
        _write_if_new(path / "plugins" / file.name, content)


def check_recipe(run: RunFolder, recipe: Recipe) -> None:
    """Raises `UserError` if the folder holds a run of another recipe, or a run with other plugin files.

    The keys in `FREE_KEYS` and `FREE_TABLES` may differ. If the run has no checkpoint and
    no trained weights, any recipe and any plugin files are accepted.
    """
    if is_file(run.recipe) and run.saved:
        _check_same(run, recipe_of_run(recipe))


def open_run(
    path: Path,
    settings: Sequence[str] = (),
    *,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    trust_plugins: bool = False,
) -> tuple[RunFolder, Recipe]:
    """Opens an existing run and applies `key=value` settings to its recipe.

    `path` is the run's folder, or the name of a model that comes trained. Values in `tables`, by table such as
    `sampling`, replace the keys of the recipe, including keys that `settings` set.

    Raises `UserError` if `path` is neither, or if the run has plugin files, which are code, and `trust_plugins` is
    False.
    """
    run = find_run(path)
    with needing_packages(run.path):
        return run, load_recipe_of_run(run.recipe, settings, tables=tables, trust_plugins=trust_plugins)


def run_facts(run: RunFolder, recipe: Recipe) -> dict[str, Any]:
    """Values by name that must be equal in all processes that use an opened run together."""
    weights = {f"the checksum of {name}'s weights": read_checksum(run.weights(name)) for name in run.trained(recipe)}
    return {"the run": run.model or os.path.abspath(run.path), **recipe_facts(recipe), **weights}


def _write_if_new(path: Path, content: bytes) -> None:
    if not _holds(path, content):
        with replacing(path) as temporary:
            temporary.write_bytes(content)


def _holds(path: Path, content: bytes) -> bool:
    """Whether the file exists and has exactly this content. A file of another size is not read."""
    return is_file(path) and path.stat().st_size == len(content) and read_bytes(path) == content


def _check_same(run: RunFolder, recipe: Recipe) -> None:
    # The plugin files in the run's folder are compared with the plugin files of the recipe. They are not executed.
    kept = fill_in(read_recipe(run.recipe), recipe.registry)
    for file, content in recipe.registry.files.items():
        copy = run.path / "plugins" / file.name
        if is_file(copy) and not _holds(copy, content):
            raise UserError(
                f"{run.path} was made with another version of the plugin file {file}; restore that version or choose "
                "another folder with --out"
            )
    if different := different_keys(kept, recipe):
        paths = ""
        before, now = kept.training.init, recipe.training.init
        if before and now and before != now:  # The recipe's folder may have changed, or the path's meaning.
            paths = f"; training.init was {one_line(before)} and is {one_line(now)}"
        raise UserError(
            f"{run.path} holds a run of another recipe (different keys: {', '.join(different)}{paths}); choose another "
            "folder with --out"
        )


def different_keys(before: Recipe, now: Recipe) -> list[str]:
    """The keys with other values in a run's recipe and in another, without those that may change in a begun run."""
    first, second = recipe_table(before), recipe_table(now)
    for table in (first, second):
        table["training"].pop("factor", None)
    found = {path for path, _, _ in differences(first, second) if not _is_free(path)}
    for name in set(before.factor_names) & set(now.factor_names):
        for path, _, _ in differences(unstructure(before.training_of(name)), unstructure(now.training_of(name))):
            if f"training.{path}" not in found and not _is_free(f"training.{path}"):
                found.add(f"training.factor.{name}.{path}")
    return sorted(found)


def _is_free(path: str) -> bool:
    table, _, rest = path.partition(".")
    key = re.split(r"[.\[]", rest)[0]
    return table in FREE_TABLES or (table == "training" and key in FREE_KEYS) or path in FREE_PATHS
