"""Regions of pages that code makes: from a line `<!-- made: NAME ARGUMENTS -->` to a line `<!-- end -->`.

The site always has them made anew. What stands between the two lines in the file is what a reader of the file sees:
the made text as `python docs/making/regions.py PAGE …` last wrote it, or where else to find it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from costs import costs
from pictures import picture
from references import commands, components, keys

MAKERS: dict[str, Callable[..., str]] = {
    "commands": commands,
    "components": components,
    "costs": costs,
    "keys": keys,
    "picture": picture,
}
REGION = re.compile(r"(<!-- made: (\S+)([^\n]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def filled(page: str, *, markers: bool = False) -> str:
    """The page with every region made; with `markers`, the lines that begin and end each are kept."""

    def made(region: re.Match[str]) -> str:
        begin, name, arguments, _, end = region.groups()
        text = MAKERS[name](*arguments.split())
        return f"{begin}\n{text}\n\n{end}" if markers else f"{text}\n"

    return REGION.sub(made, page)


def main() -> None:
    """Writes the regions of the pages that the command line names."""
    for page in map(Path, sys.argv[1:]):
        page.write_text(filled(page.read_text(encoding="utf-8"), markers=True), encoding="utf-8")


if __name__ == "__main__":
    main()
