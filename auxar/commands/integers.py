"""The command `integers`: converts the factors of a finished run to integers, once."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import attrs

from auxar.arguments import as_integer, as_path
from auxar.commands.results import check_of
from auxar.data import load_images
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.plugins import Registry
from auxar.recipe import ComponentChoice, Recipe
from auxar.recipe.options import check_settings
from auxar.recipe.structuring import structure, unstructure
from auxar.runs.converted import recorded_options
from auxar.runs.layout import RunFolder
from auxar.runs.lock import holding_for_all
from auxar.runs.opening import open_run
from auxar.runs.weights import trained_model
from auxar.training.conversion import IMAGES, convert_run

NAME = "integer"
"""Name of the arithmetic."""


@attrs.frozen
class Integers:
    """The result of `auxar.integers`."""

    folder: RunFolder
    """The folder in which the integers are."""
    digests: dict[str, str]
    """The digest of each factor in integers, by its name. Equal digests mean equal frequencies and samples."""


def integers(
    path: str | PathLike[str],
    *,
    weights: int | None = None,
    activations: int | None = None,
    images: int = IMAGES,
    settings: Sequence[str] = (),
    trust_plugins: bool = False,
) -> Integers:
    """Converts the factors of a finished run to integers, and stores them beside the weights.

    Frequencies of values, and samples, are the same in integers, bit for bit, on every machine. `path` is the run's
    folder, or the name of a model that comes trained, whose integers are written into the folder ./NAME. `weights` and
    `activations` are the numbers of bits of each weight, and of each value between layers. The defaults are those that
    `integer.json` records for the run's weights, those of the recipe's key `arithmetic`, or 12 and 16. The ranges of
    values are taken from `images` training images. `settings` are `key=value` strings that may set `data.path`,
    `data.options` and `data.workers`.

    Integers that were made before from the same weights and with the same numbers of bits are kept, because files and
    samples may depend on them. Integers of other weights are replaced.

    Raises `UserError` if a factor is not trained, if a part of the model has no integer counterpart, if there are
    integers of these weights with other numbers of bits, or if this machine makes other integers than those that the
    run records.

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> list(made.digests)
        ['stage0', 'stage1', 'prior']
        >>> model = auxar.load("runs/quickstart", arithmetic="integer")
        >>> model.sample(1, seed=3).tensor.shape
        torch.Size([1, 3, 32, 32])
    """
    folder = as_path(path, "path")
    count = as_integer(images, "images")
    if count < 1:
        raise UserError(f"--images {count}: expected at least 1")
    check_settings(settings, "data.path", "data.options", "data.workers")
    with working_together() as processes:
        with processes.agreeing():
            if processes.count > 1:
                raise UserError("auxar integers: run this command in one process")
            run, recipe, registry = open_run(folder, settings, trust_plugins=trust_plugins)
            given = {"weights": weights, "activations": activations}
            choice = _choice(recipe, registry, given, recorded_options(run, NAME))
            trained_model(run, recipe, registry)  # Loading weights checks them.
        with holding_for_all(run.output.path, processes, check_of(run)):
            digests = convert_run(
                run,
                recipe,
                registry,
                choice,
                lambda: load_images(recipe.data, recipe.image, registry, recipe.condition),
                count,
            )
    return Integers(run.output, digests)


def _choice(
    recipe: Recipe, registry: Registry, given: dict[str, int | None], recorded: dict[str, Any]
) -> ComponentChoice:
    """The arithmetic with all its options. Options that are None are those recorded by the run, of the recipe, or the
    defaults."""
    component = registry.get("arithmetic", NAME, "auxar integers")
    own = recipe.arithmetic.options if recipe.arithmetic.name == NAME else {}
    options = {**own, **recorded, **{name: value for name, value in given.items() if value is not None}}
    config: Any = structure(options, component.config, "auxar integers")
    return ComponentChoice(NAME, unstructure(config))
