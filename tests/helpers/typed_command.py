"""A command whose annotations are types, not texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import auxar


@auxar.command("Measure", show=lambda found: auxar.Result([str(found)], found))
def typed(
    paths: Sequence[str | Path],
    count: int,
    folder: Path,
    *,
    names: Sequence[str] = ("a", "b"),
    scale: float | None = None,
    shuffle: bool = True,
    twice: bool = False,
    condition: Any = None,
    values: Mapping[str, Sequence[Any]] | Sequence[str] = (),
    command: str = "x",
) -> dict[str, Any]:
    """Returns its arguments. All of them.

    Args:
        paths (PATH): files
        count (-n): a number
        folder (--folder DIR): a folder
        names: names
        scale: a factor
        shuffle: shuffle the files
        twice: do it twice
        condition (--condition TEXT): a condition
        values: values of keys
        command: a text
    """
    return {**locals(), "folder": str(folder)}
