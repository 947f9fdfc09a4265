"""The command `new-recipe`: writes a first recipe for a data set."""

import os
from os import PathLike
from pathlib import Path

from auxar.arguments import as_path
from auxar.commandline import Result, command


def _shown(found: Path) -> Result:
    advice = f"Next, read {found}, or train the model: auxar run {found}"
    return Result([f"recipe  {found}", advice], {"recipe": str(found)})


@command("Recipes and plugins", show=_shown)
def new_recipe(data: str | PathLike[str], *, out: str | PathLike[str] | None = None, minutes: float = 8.0) -> Path:
    """Writes a first recipe for a data set.

    Some pictures are looked at, and the recipe has choices that fit them, with comments: their size, or random crops of
    pictures of many sizes; gray or colors; the levels in use; labels from a column or from the names of folders, and
    masks beside the pictures; a pyramid of views with restricted decoders, and networks of the kind `convnet`.

    Args:
        data: a folder of pictures, a parquet file, a registered data set, or a data set on the Hugging Face hub
        out (-o, --out FILE): the new file (default: NAME.toml, with the name of the data set)
        minutes (--minutes M): minutes of training on this machine, `training.minutes` of the recipe

    Returns:
        The path of the recipe.

    Raises:
        UserError: the file exists or cannot be written, or the data set cannot be found or read

    Examples:
        >>> import auxar
        >>> recipe = auxar.new_recipe("letters", minutes=1)
        >>> recipe.name, auxar.load_recipe(recipe).image.levels
        ('letters.toml', 16)
    """
    from auxar.scaffold.recipe import write_recipe

    path = as_path(data, "data")
    name = os.path.basename(os.path.abspath(path))
    return write_recipe(path, Path(f"{Path(name).stem}.toml") if out is None else as_path(out, "out"), minutes)
