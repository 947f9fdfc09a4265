"""The command `integers`: converts the factors of a finished run to integers, once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import logger

if TYPE_CHECKING:
    from auxar.training.conversion import Integers


def _shown(made: Integers) -> Result:
    lines = [f"{factor:<10}{digest}" for factor, digest in made.digests.items()]
    return Result(lines, {"run": str(made.folder.path), "digests": made.digests})


@command("Share and store", show=_shown)
def integers(
    run: str | PathLike[str],
    *,
    weights: int | None = None,
    activations: int | None = None,
    images: int = 256,
    settings: Sequence[str] = (),
    trust_plugins: bool = False,
) -> Integers:
    """Converts a run to integers, for equal samples everywhere.

    The factors are converted once, and stored beside the weights. Frequencies of values, and samples, are the same in
    integers, bit for bit, for every batch size, number of threads, sampler and machine: see `auxar sample --arithmetic
    integer`. For a model that comes trained, the integers are written into the folder ./NAME.

    Integers that were made before from the same weights and with the same numbers of bits are kept, because files and
    samples may depend on them. Integers of other weights are replaced.

    Args:
        weights (--weights BITS): bits of each weight, 4 … 16 (default: those that integer.json records, those of the
            recipe's key arithmetic, or 16)
        activations (--activations BITS): bits of each value between layers, 4 … 16 (default: those that integer.json
            records, those of the recipe's key arithmetic, or 16)
        images: number of training images from which the ranges of values are taken
        settings: set data.path, data.config, data.options and data.workers, such as data.path=FOLDER

    Returns:
        The folder, and the digest of each factor in integers.

    Raises:
        UserError: a factor is not trained, a part of the model has no integer counterpart, there are integers of these
            weights with other numbers of bits, or this machine makes other integers than those that the run records

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> list(made.digests)
        ['stage0', 'stage1', 'prior']
        >>> model = auxar.load("runs/quickstart", arithmetic="integer")
        >>> model.sample(1, seed=3).tensor.shape
        torch.Size([1, 3, 32, 32])
    """
    from auxar.arguments import as_integer, as_path
    from auxar.commands.results import check_of
    from auxar.data.loading import images_of
    from auxar.recipe.options import DATA_SETTINGS, check_settings
    from auxar.runs.lock import holding
    from auxar.runs.opening import open_run
    from auxar.runs.weights import trained_model
    from auxar.training.conversion import IMAGES, Integers, convert_run, integer_arithmetic
    from auxar.work.processes import check_alone

    path = as_path(run, "run")
    count = as_integer(images, "images", 1)
    bits = {"weights": weights, "activations": activations}
    bits = {name: None if value is None else as_integer(value, name, 4, 16) for name, value in bits.items()}
    check_settings(settings, *DATA_SETTINGS)
    check_alone("auxar integers")
    folder, recipe = open_run(path, settings, trust_plugins=trust_plugins)
    choice = integer_arithmetic(folder, recipe, **bits)
    trained_model(folder, recipe)  # Loading weights checks them.
    check_of(folder)(folder.output.path)
    data = functools.cache(lambda: images_of(recipe))
    with holding(folder.output.path):
        digests = convert_run(folder, recipe, choice, data, count)
    if (settings or count != IMAGES) and not data.cache_info().currsize:
        logger.warning("all factors have integers already, so the options --images and --set are not used")
    return Integers(folder.output, digests)
