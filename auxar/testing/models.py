"""The contract check of models that come trained."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from auxar.files import entries, is_file, parse_json, read_metadata
from auxar.model import SampleRequest
from auxar.recipe import load_recipe_of_run, read_recipe, recipe_table
from auxar.recipe.building import own_sampler
from auxar.recipe.facts import flat
from auxar.runs.format import check_format
from auxar.runs.history import HISTORY
from auxar.runs.layout import RunFolder
from auxar.runs.records import FACTS
from auxar.runs.weights import trained_model
from auxar.runs.wrong_path import check_is_run
from auxar.testing.datasets import stamps
from auxar.testing.laws import broken, refusals

OTHERS = (".*", "*/.*", "factors/*/.*", "factors/*/training-*", "factors/*/best-*", "samples/*", "figures/*")
"""Patterns of files that a run has, and a model that comes trained does not need."""


def check_model(build: Callable[[Any], Path], config: object, *, most_bytes: int | None = None) -> None:
    """Checks the folder of a trained model that `build(config)` returns, which `auxar export` has written.

    The laws:

    - `config`: every option of the config class has a default, because commands accept only the model's name.
    - `path`: `build` returns the absolute path of the folder of a run.
    - `complete`: the recipe can be read, and all factors have weights that fit it.
    - `portable`: neither the recipe, nor the history of the weights, nor the evaluation contains an absolute path.
    - `small`: there are no checkpoints, locks, temporary files, samples and figures, and the files have together at
      most `most_bytes` bytes, if it is given.
    - `draws`: an image can be drawn, and no file in the folder is written.

    Plugin files in the folder are loaded. Raises `ContractError` if a law is broken.
    """
    try:
        type(config)()
    except TypeError as error:
        broken("config", f"every option needs a default: {error}")
    path = build(config)
    if not isinstance(path, Path) or not path.is_absolute():
        broken("path", "build must return an absolute pathlib.Path", path=path)
    run = RunFolder(path)
    with refusals("path"):
        check_is_run(path)
        check_format(run.path)
    before = stamps(path)
    with refusals("complete"):
        recipe = load_recipe_of_run(run.recipe, trust_plugins=True)
        model = trained_model(run, recipe).eval()
        texts = list(_texts(run))
    for where, text in texts:
        if os.path.isabs(text) or text.startswith("~"):
            broken("portable", f"{where} is a path on this machine; `auxar export` replaces it", path=text)
    if others := [found for pattern in OTHERS for found in entries(path, pattern)]:
        broken("small", "a trained model does not need this file; `auxar export` leaves it out", file=others[0])
    size = sum(file.stat().st_size for file in before)
    if most_bytes is not None and size > most_bytes:
        broken("small", f"the files have {size:,} bytes, more than {most_bytes:,}")
    with refusals("draws"), torch.no_grad():
        model.draw(SampleRequest((0,), recipe.sampling.seed, recipe.sampling.draw_rule()), own_sampler(model))
    if stamps(path) != before:
        broken("draws", "a file in the folder was written while an image was drawn", path=path)


def _texts(run: RunFolder) -> Iterator[tuple[str, str]]:
    """Yields the strings in the files of a run that may be paths, each with its place."""
    recipe = read_recipe(run.recipe)
    tables = {run.recipe.name: recipe_table(recipe)}
    if is_file(run.evaluation):
        tables[run.evaluation.name] = parse_json(read_metadata(run.evaluation).get(FACTS, "{}"))
    for name in recipe.factor_names:
        tables[f"the history of {name}"] = parse_json(read_metadata(run.weights(name)).get(HISTORY, "{}"))
    for where, table in tables.items():
        for key, value in flat(table):
            if isinstance(value, str):
                yield f"{key} in {where}", value
