"""Reads the drawings of emoji from npm packages."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import emoji_catalog as catalog
from emoji_catalog import Emoji, code_of

from auxar_emoji.vendors import VENDORS

FOLDERS_OF_FILES = {"twemoji": ".", "emojione": "assets/svg"}
"""The folders of the packages that have one SVG file for each emoji, named by its code points, by vendor."""
CODES = {"noto": "noto", "fluent": "fluent-flat", "fluent-flat": "fluent-flat"}
"""The vendor whose package says which icon draws which emoji (chars.json), by vendor."""
PACKAGES = {catalog.PACKAGE: catalog.VERSION} | dict(VENDORS.values())
"""The versions of all packages."""


def check_versions(node_modules: Path) -> None:
    """Raises `SystemExit` unless the folder has the packages in these versions."""
    for package, expected in PACKAGES.items():
        file = node_modules / package / "package.json"
        found = json.loads(file.read_text())["version"] if file.is_file() else "none"
        if found != expected:
            install = " ".join(f"{name}@{version}" for name, version in PACKAGES.items())
            raise SystemExit(
                f"{node_modules}: expected {package} in version {expected}, found {found}; run: npm install {install}"
            )


def read_drawings(vendor: str, node_modules: Path, emoji: Iterable[Emoji]) -> dict[str, str]:
    """Reads the vendor's SVG drawings of the emoji that it has, by their code points."""
    wanted = {each.code: each for each in emoji}
    folder = node_modules / VENDORS[vendor][0]
    if vendor in FOLDERS_OF_FILES:
        files = sorted((folder / FOLDERS_OF_FILES[vendor]).glob("*.svg"))
        return {code_of(file.stem): file.read_text() for file in files if code_of(file.stem) in wanted}
    icons = json.loads((folder / "icons.json").read_text())
    if vendor in CODES:
        names = json.loads((node_modules / VENDORS[CODES[vendor]][0] / "chars.json").read_text())
        pairs = [(code_of(code), name) for code, name in names.items()]
    else:  # The package names its icons by the names of the emoji.
        codes = {_letters(each.name): code for code, each in wanted.items()}
        pairs = [(codes.get(_letters(name), ""), name) for name in icons["icons"]]
    return {code: _svg(icons, name) for code, name in pairs if code in wanted and name in icons["icons"]}


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _svg(icons: Mapping[str, Any], name: str) -> str:
    """An icon of an icon set in the format of Iconify, as an SVG document."""
    icon = icons["icons"][name]
    left, top, width, height = (
        icon.get(key, icons.get(key, default))
        for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
    )
