"""What MkDocs calls while it builds the site: pages have their regions made, and pictures are added."""

from __future__ import annotations

from typing import Any

from mkdocs.structure.files import File, Files
from pictures import PICTURES
from regions import filled


def on_files(files: Files, config: Any) -> Files:
    """Adds the pictures, which are drawn anew for every build."""
    for name, picture in PICTURES.items():
        files.append(File.generated(config, f"pictures/{name}", content=picture.draw()))
    return files


def on_page_markdown(markdown: str, **page: Any) -> str:
    """The page with its regions made."""
    return filled(markdown)
