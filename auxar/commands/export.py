"""The command `export`: writes a small, complete folder of a finished run, to share or to put into a package."""

from __future__ import annotations

import os
from os import PathLike
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import UserError, logger

if TYPE_CHECKING:
    from auxar.runs.layout import RunFolder


def _shown(run: RunFolder) -> Result:
    files = sorted(path for path in run.path.rglob("*") if path.is_file())
    sizes = [{"file": path.relative_to(run.path).as_posix(), "bytes": path.stat().st_size} for path in files]
    return Result([str(run.path)], {"run": str(run.path), "files": sizes})


@command("Share and store", show=_shown)
def export(
    run: str | PathLike[str],
    out: str | PathLike[str],
    *,
    half: bool = False,
    evaluate: bool = False,
    trust_plugins: bool = False,
) -> RunFolder:
    """Writes a small, complete folder of a run, to share.

    The folder holds the recipe, the weights of every factor, the history of their training, short metrics, plugin
    files, factors in integers and the evaluation, but no checkpoints, images and report. It has no absolute paths of
    this machine: an absolute path of images or of another run is replaced by `./` and its last part. Such a folder is
    read like any run, and a plugin can register it as a model that comes trained. It cannot be trained further;
    training.init starts a new run from its weights.

    Args:
        out (DIR): the new folder, outside of the run's folder
        half: store weights as float16, in half the space, to be used as float32; rounding changes the model, so its
            integers and its evaluation are left out
        evaluate: evaluate the exported model on the run's images, as `auxar evaluate`

    Returns:
        The new folder.

    Raises:
        UserError: the new folder exists or is in the run's folder, a factor is not trained, weights are damaged or from
            another model, or, with `half`, a weight is beyond the range of float16, ±65504

    Examples:
        >>> import auxar
        >>> folder = auxar.export("runs/quickstart", "runs/half", half=True)
        >>> auxar.load(folder).sample(1).tensor.shape
        torch.Size([1, 3, 32, 32])
    """
    from auxar.arguments import as_path, check_flag
    from auxar.data.writing import check_new, new_folder
    from auxar.exporting import write_exported
    from auxar.runs.layout import RunFolder
    from auxar.runs.opening import open_run
    from auxar.runs.weights import trained_model
    from auxar.work.processes import working_together

    folder, new = as_path(run, "run"), as_path(out, "out")
    check_flag(half, "half")
    check_flag(evaluate, "evaluate")
    with working_together() as processes:
        with processes.agreeing():
            found, recipe = open_run(folder, trust_plugins=trust_plugins)
            if missing := [name for name in recipe.factor_names if name not in found.trained(recipe)]:
                raise UserError(
                    f"{found.name} is not finished: these factors are not trained: {', '.join(missing)}; train them "
                    "with `auxar run` first"
                )
            if evaluate and processes.count > 1:
                raise UserError("evaluate: export in one process, or evaluate the new folder with `auxar evaluate`")
            root = os.path.realpath(found.path)
            if os.path.commonpath([root, os.path.realpath(new)]) == root:
                raise UserError(f"{new} is in the folder of the exported run, {found.path}; choose one outside of it")
            check_new(new)
            trained_model(found, recipe)  # Loading weights checks them.
        with processes.agreeing():
            if processes.is_main:
                with new_folder(new) as temporary:
                    write_exported(RunFolder(temporary), found, recipe, half=half, evaluate=evaluate)
    if half and not evaluate:
        logger.info("rounding changes the model; `auxar evaluate %s` computes its bits/dim", new)
    return RunFolder(new)
