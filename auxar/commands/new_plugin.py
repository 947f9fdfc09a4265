"""The command `new-plugin`: writes the template of a plugin package."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from auxar.arguments import as_path
from auxar.commandline import Result, command

if TYPE_CHECKING:
    from auxar.scaffold import NewPlugin


def _shown(found: NewPlugin) -> Result:
    folder = found.folder
    advice = f"Next, read {folder}/README.md, or run the tests: cd {folder} && pip install -e '.[test]' && pytest"
    record = {"folder": str(folder), "files": found.files}
    return Result([f"{folder}:", *(f"    {file}" for file in found.files), advice], record)


@command("Recipes and plugins", show=_shown)
def new_plugin(name: str, *, kind: str, out: str | PathLike[str] = ".") -> NewPlugin:
    """Writes the template of a plugin package.

    The new folder NAME contains an installable package that provides one component, its tests, and a recipe that uses
    it; or one command and its tests. The tests pass without changes.

    Args:
        name: name of the package, such as auxar-halftone; the component or the command is named without auxar-
        kind (--kind KIND): kind of the component: view, network, embedding, head, sampler, augmentation, optimizer,
            schedule, tracker or dataset; or command
        out (--out DIR): folder in which NAME is created (default: the current folder)

    Returns:
        The folder, and the paths of the files in it.

    Raises:
        UserError: the kind is unknown, the name is invalid or taken, the folder exists, or a file cannot be written

    Examples:
        >>> import auxar
        >>> auxar.new_plugin("auxar-halftone", kind="view", out="packages").folder.as_posix()
        'packages/auxar-halftone'
    """
    from auxar.scaffold import write_plugin

    return write_plugin(name, kind, as_path(out, "out"))
