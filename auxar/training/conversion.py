"""Converts the trained factors of a run to another arithmetic, once, and stores them beside the weights."""

from collections.abc import Callable

import attrs
import torch

from auxar.data.sets import DataSets
from auxar.errors import UserError, logger
from auxar.exporting import keep_integers
from auxar.files import DamagedFile, is_file, read_checksum
from auxar.model import FLOAT, IMAGE, Chain, Converted, Values
from auxar.recipe import ComponentChoice, Recipe
from auxar.recipe.building import build_component
from auxar.recipe.choices import resolved
from auxar.runs.arithmetic import model_in
from auxar.runs.converted import ConvertedFactors, Recorded, options_text, write_converted
from auxar.runs.layout import RunFolder
from auxar.runs.weights import read_trained, trained_model
from auxar.training.lengths import taken_steps
from auxar.work.processes import Processes

NAME = "integer"
"""Name of the arithmetic in integers."""
IMAGES = 256
"""Default number of training images from which the ranges of values are taken."""


@attrs.frozen
class Integers:
    """The result of `auxar.integers`."""

    folder: RunFolder
    """The folder in which the integers are."""
    digests: dict[str, str]
    """The digest of each factor in integers, by its name. Equal digests mean equal frequencies and samples."""


def integer_arithmetic(run: RunFolder, recipe: Recipe, **bits: int | None) -> ComponentChoice:
    """The arithmetic in integers with all its options.

    Options that `bits` does not give are those recorded by the run, of the recipe, or the defaults.
    """
    own = recipe.arithmetic.options if recipe.arithmetic.name == NAME else {}
    given = {name: value for name, value in bits.items() if value is not None}
    choice = ComponentChoice(NAME, {**own, **ConvertedFactors(run, NAME).options, **given})
    return resolved(choice, "arithmetic", "auxar integers", recipe.registry)


def convert_run(
    run: RunFolder, recipe: Recipe, choice: ComponentChoice, data: Callable[[], DataSets], images: int = IMAGES
) -> dict[str, str]:
    """Converts the trained factors of a run to an arithmetic, and returns the digest of each by name.

    Factors that were converted before from the same weights with the same options are kept, because files and samples
    may depend on them. Those of other weights are replaced. The ranges of values are taken from `images` training
    images; `data` is called if a factor has to be converted. One process calls this while it holds the run's lock.

    Raises `UserError` if a factor is not trained, if a part of it has no counterpart in the arithmetic, if there are
    converted factors of these weights with other options, or if the numbers differ from those whose digest the run
    records.
    """
    arithmetic = build_component(choice, choice.name)
    files, model = ConvertedFactors(run, choice.name), trained_model(run, recipe).eval()
    made = {factor.name: is_converted(run, factor.name, choice) for factor in model.all_factors}
    values: Values | None = None
    found: dict[str, str] = {}
    for factor in model.all_factors:
        path = files.path(factor.name)
        if made[factor.name]:
            logger.info("%s is kept", path)
        else:
            if is_file(path):
                loss = f"files made with older integers need {run.path / 'older'} or an export made before"
                logger.warning("%s is damaged or belongs to other weights, and is replaced; %s", path, loss)
            values = training_values(model, data(), images) if values is None else values
            converted = arithmetic.convert(factor, values)
            _write(files, factor.name, converted, options_text(choice.options), len(values))
        _, recorded = files.read(factor.name)
        files.write_record(factor.name, recorded)
        found[factor.name] = recorded.digest
    # While a factor is trained further, other weights are on their way.
    trained = {name: read_trained(run, name) for name in recipe.factor_names}
    if any(each and each.steps is not None and taken_steps(run, name) > each.steps for name, each in trained.items()):
        keep_integers(run, recipe)
    return found


def converted_models(
    run: RunFolder, recipe: Recipe, data: Callable[[], DataSets], processes: Processes
) -> dict[str, Chain]:
    """The model in the recipe's arithmetic, by its name, if this is not floating point and all factors are trained.

    Factors that are not converted yet are converted by the main process.
    """
    choice = recipe.arithmetic
    if choice.name == FLOAT or len(run.trained(recipe)) < len(recipe.factor_names):
        return {}
    with processes.agreeing():
        if processes.is_main:
            convert_run(run, recipe, choice, data)
    with processes.agreeing():
        return {choice.name: model_in(run, recipe, choice.name)}


def is_converted(run: RunFolder, name: str, choice: ComponentChoice) -> bool:
    """Whether a factor was converted from the run's present weights. A damaged file of the user's own does not count.

    Raises `UserError` if it has other options or, for a model that comes trained or is on the hub, if it is damaged.
    """
    files, expected = ConvertedFactors(run, choice.name), options_text(choice.options)
    try:
        made = files.read(name)[1] if files.origin(name) else None
    except DamagedFile:
        if run.model is not None:
            raise
        return False
    if made is not None and made.options != expected:
        raise UserError(
            f"{files.path(name)} was made with other numbers of bits: expected {expected}, found "
            f"{made.options}; delete it to make it again, but then files and samples that depend on it cannot be "
            "decoded or drawn again"
        )
    return made is not None


@torch.no_grad()
def training_values(model: Chain, data: DataSets, count: int) -> Values:
    """`count` training images, or all if there are fewer, int64, their views, and their conditions if there are any.

    The images are evenly spaced in the set if its length is known.
    """
    step = max(1, len(data.train) // count) if hasattr(data.train, "__len__") else 1
    examples = data.train.first_examples(count, step)
    return model.with_views(examples | {IMAGE: examples[IMAGE].long()})


def _write(files: ConvertedFactors, name: str, converted: Converted, options: str, images: int) -> None:
    path = files.path(name)
    made = Recorded(read_checksum(files.run.weights(name)), options, "").with_digests(converted)
    if (other := files.other_digest(name, made)) is not None:
        raise UserError(
            f"factor {name} of {files.run.name}, converted with the ranges of {images} images, has the digest "
            f"{made.digest}, but it was converted before with the digest {other}, perhaps with other images, another "
            "number of them or on another machine; files and samples of one cannot be decoded or drawn with the other, "
            f"so nothing is written; restore {path}, or delete {files.record.name}"
        )
    write_converted(path, converted, made)
    logger.info("%s: %s", name, path)
