"""A helper that writes the files of a tutorial in the documentation."""

import re
from pathlib import Path

from helpers.tiny_runs import PROJECT

BLOCK = re.compile(r"^`([^`\n]+)`(, continued)?:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def write_tutorial(page: str, folder: Path) -> list[str]:
    """Writes every code block that follows a file name to that file below `folder`, and returns the file names."""
    files: dict[str, str] = {}
    for name, continued, text in BLOCK.findall((PROJECT / "docs" / page).read_text(encoding="utf-8")):
        assert bool(continued) == (name in files), f"{page}: {name}"
        files[name] = f"{files[name]}\n\n{text}" if continued else text
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return list(files)
