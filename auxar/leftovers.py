"""Temporary files of `replacing` that killed processes left in a folder."""

import contextlib
import re
import time
from collections.abc import Collection
from pathlib import Path

from auxar.files import FILE, UNFINISHED, entries, kind

TEMPORARY = re.compile(rf"\.(.+)\.[a-z0-9]{{8}}{re.escape(UNFINISHED)}", re.DOTALL)
"""The names of temporary files: a dot, the name of the file, eight random characters, and `.part`."""
ABANDONED_AFTER = 3600.0
"""Seconds without a change after which a temporary file counts as left by a killed process."""


def unfinished(folder: Path, names: Collection[str] | None = None, *, unchanged: float = 0.0) -> list[Path]:
    """The temporary files directly in `folder`, left by a killed process or being written now.

    `names` limits them to temporary files of files with these names. In a folder that auxar did not make, a temporary
    file of any other name may belong to the user. `unchanged` limits them to files that no process has written to for
    this time in seconds.
    """
    found = []
    for path in entries(folder):
        match = TEMPORARY.fullmatch(path.name)
        if match and (names is None or match[1] in names) and kind(path) == FILE:
            with contextlib.suppress(FileNotFoundError):  # Another process has just finished the file.
                if not unchanged or time.time() - path.stat().st_mtime > unchanged:
                    found.append(path)
    return found
