"""The command `limits`: gives the trained factors of a run the limits of their parameters, without training."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import UserError, logger

if TYPE_CHECKING:
    from auxar.training.limited_runs import LimitedRun


def _shown(run: LimitedRun) -> Result:
    lines = []
    for factor, limits in run.limits.items():
        text = ", ".join(f"{name} ≤ {limit:g}" for name, limit in limits.items()) or "no limits"
        lines.append(f"{factor:<10}{text}{'' if factor in run.changed else ' (as before)'}")
    return Result(lines, {"run": str(run.folder.path), "limits": run.limits, "changed": list(run.changed)})


@command("Train", show=_shown)
def limits(
    run: str | PathLike[str],
    *,
    limits_cost: float | None = None,
    settings: Sequence[str] = (),
    trust_plugins: bool = False,
) -> LimitedRun:
    """Limits a trained model, so that its samples hold together.

    Upper limits of parameters, such as log-scales, are chosen for each factor from training images: the lowest ones
    that cost at most `limits_cost`. `auxar run` does this at the end of training unless training.limits is false, so
    this command is for models that were trained without limits. It writes the limits into the files of weights, and
    into integers that were made from these weights, whose numbers stay. Files of `auxar compress` that were made
    before are still decoded.

    Likelihoods and samples change. `auxar run` makes the evaluation, the samples and the report again.

    Args:
        run: a run's folder
        limits_cost: maximum number of bits/dim that limits may cost on training images; larger ones let more samples
            hold together (default: the recipe's training.limits_cost). A limits_cost of a single factor stays
        settings: set data.path, data.config, data.options and data.workers, such as data.path=FOLDER

    Returns:
        The folder, the limits of each factor, and the names of the factors whose limits changed.

    Raises:
        UserError: a factor is not trained, the model comes trained (export it first), or the images cannot be read

    Examples:
        >>> import auxar
        >>> limited = auxar.limits("runs/quickstart")
        >>> list(limited.limits), limited.changed
        (['stage0', 'stage1', 'prior'], ())
    """
    from auxar.arguments import as_path
    from auxar.data.loading import images_of
    from auxar.recipe.options import DATA_SETTINGS, check_settings, naming_options
    from auxar.runs.lock import holding
    from auxar.runs.opening import open_run
    from auxar.training.limited_runs import limit_run
    from auxar.work.processes import check_alone

    check_settings(settings, *DATA_SETTINGS)
    check_alone("auxar limits")
    chosen = {} if limits_cost is None else {"limits_cost": limits_cost}
    with naming_options(chosen, "training"):
        folder, recipe = open_run(
            as_path(run, "run"), settings, tables={"training": chosen}, trust_plugins=trust_plugins
        )
    if folder.model is not None:
        raise UserError(
            f"{run}: the files of a model that comes trained or is on the hub are not changed; export it to a folder "
            "with `auxar export`, and give this folder"
        )
    with holding(folder.path):
        limited = limit_run(folder, recipe, images_of(recipe))
    if limited.changed:
        logger.info("`auxar run` with this folder's recipe makes the evaluation, samples and report again")
    return limited
