"""A command with parameters of all kinds, and functions that break laws of commands."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auxar.commandline import Result, command
from auxar.errors import UserError


def shown(found: Any) -> Result:
    return Result([f"{found}"], found)


@command("Measure", show=shown)
def example(
    run: str | Path,
    paths: Sequence[str | Path],
    out: Path,
    names: Sequence[str] = (),
    *,
    count: int = 3,
    scale: float | None = None,
    condition: Any = None,
    settings: Sequence[str] = (),
    only: Sequence[str] = (),
    values: Mapping[str, Sequence[Any]] | Sequence[str] = (),
    kinds: Sequence[str] = ("a", "b"),
    command: str = "x",
    shuffle: bool = True,
    replace: bool = False,
    trust_plugins: bool = False,
) -> dict[str, Any]:
    """Does something with a run and
    pictures.

    It uses 100 % of them.

    Args:
        paths (PATH): image files, or folders
            of image files
        out (-o, --out FILE): the file
        names: further names
        count (-n N): number of images (0: none)
        scale: a factor
        condition (--condition KIND=VALUE): a condition
        only (--factors NAME,…): the factors
        values: values of keys
        kinds: names of kinds
        command: a text
        shuffle: shuffle the files
        replace: replace the file

    Raises:
        UserError: always, if count is 7
    """
    if count == 7:
        raise UserError("count: expected another number")
    return {"run": str(run), "count": count}


def undecorated() -> None:
    """Is no command."""


@command("Measure", show=shown)
def without_docstring() -> None:
    pass


@command("Measure", show=shown)
def without_entry(count: int) -> None:
    """Does nothing."""


@command("Measure", show=lambda _: Result(["x"], object()))
def unwritable() -> None:
    """Does nothing."""


@command("Measure", show=shown)
def with_many(*paths: str) -> None:
    """Does nothing.

    Args:
        paths: image files
    """


@command("Measure", show=shown)
def with_table(table: dict[str, str]) -> None:
    """Does nothing.

    Args:
        table: a table
    """
