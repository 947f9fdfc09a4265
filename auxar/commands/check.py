"""The command `check`: validates a recipe, and gives the parameters, compute and memory of its factors."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from auxar.arguments import as_path, check_flag
from auxar.commandline import Result, command
from auxar.errors import UserError, logger

if TYPE_CHECKING:
    from auxar.recipe.cost import RecipeCheck


def _shown(found: RecipeCheck) -> Result:
    import attrs

    from auxar.report.text import cost_lines

    record = attrs.asdict(found)
    return Result(cost_lines(found.factors, found.precision), record, record.pop("mistake"))


@command("Train", show=_shown)
def check(
    recipe: str | PathLike[str], *, settings: Sequence[str] = (), time: bool = False, trust_plugins: bool = False
) -> RecipeCheck:
    """Validates a recipe without training.

    The recipe and its plugins are checked. The result has the sizes of the image and its views and, for each factor,
    its parameters, the multiply-adds of a forward pass for one image, and the memory for training. A missing folder or
    file of images, missing experiment trackers, and weights of `training.init` that do not fit are reported after it.
    Images are read only for `time`.

    Args:
        settings: override keys of the recipe, such as stage[0].decoder.filters=32
        time: measure some training steps of each factor, and give the minutes that its training takes on this machine

    Returns:
        The costs of the factors, and a mistake that depends on this machine, if there is one.

    Raises:
        UserError: the recipe is invalid, or names plugin files that are not trusted

    Examples:
        >>> import auxar
        >>> found = auxar.check("quickstart", settings=["training.batch_size=8"])
        >>> [(cost.factor, cost.parameters) for cost in found.factors], found.mistake
        ([('stage0', 118781), ('stage1', 151229), ('prior', 184740)], None)
    """
    from auxar.recipe import load_recipe
    from auxar.recipe.building import checked_model
    from auxar.recipe.cost import RecipeCheck, factor_costs
    from auxar.recipe.paths import local_path
    from auxar.runs.layout import RunFolder
    from auxar.training.initialization import check_init
    from auxar.training.speed import with_times
    from auxar.training.trackers import check_trackers

    path = as_path(recipe, "recipe")
    check_flag(time, "time")
    found = load_recipe(path, settings, trust_plugins=trust_plugins)
    model = checked_model(found)
    costs = factor_costs(found)
    mistake: UserError | None = None
    registered = found.registry.names("dataset")
    # The costs also interest where a recipe cannot run, so mistakes that depend on this machine come after them.
    try:
        check_trackers(found.training.trackers)
        check_init(RunFolder(path), found, model, found.factor_names)
        for key, data in found.data_tables.items():
            if data.path not in registered and local_path(data.path, registered, f"{key}.path") is None:
                said = "'%s' is no file or folder on this machine: `auxar run` looks for it on the Hugging Face hub"
                logger.info(said, data.path)
        costs = with_times(found, costs) if time else costs
    except UserError as error:
        mistake = error
    return RecipeCheck(str(path), found.training.precision, costs, mistake)
