"""Writes a new plugin package from templates."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from string import Template

import attrs

from auxar.errors import UserError, did_you_mean
from auxar.files import write_text
from auxar.plugins import load_plugins
from auxar.scaffold.names import PluginNames, check_free, plugin_names

PARTS = ("view", "network", "embedding", "head", "sampler")
"""The parts of a model."""
KINDS = (*PARTS, "augmentation", "optimizer", "schedule", "tracker", "dataset", "command")
GUIDES = {"view": "views", "dataset": "datasets", "command": "commands", "optimizer": "optimizers"}
GUIDES |= {"schedule": "optimizers", "augmentation": "recipes", "tracker": "recipes"}
"""The page of the documentation about a kind of plugin. The default is `networks`."""
TEMPLATES = Path(__file__).parent / "templates"


@attrs.frozen
class NewPlugin:
    """The result of `auxar.new_plugin`: a plugin package that was written."""

    folder: Path
    """The folder of the package."""
    files: list[str]
    """The paths of its files in this folder."""


def write_plugin(project: str, kind: str, parent: Path) -> NewPlugin:
    """Writes a plugin package to the folder `parent`/`project`.

    Raises `UserError` if the kind is unknown, if the name is invalid or taken, if the folder exists, or if a file
    cannot be written.
    """
    if kind not in KINDS:
        raise UserError(f"kind: there is no template for '{kind}'{did_you_mean(kind, KINDS)}")
    names = plugin_names(project)
    check_free(names, kind, load_plugins())
    files = plugin_files(names, kind)
    folder = parent / project
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists and is not overwritten; choose another name or another --out")
    for path, text in files.items():
        write_text(folder / path, text)
    return NewPlugin(folder, list(files))


def plugin_files(names: PluginNames, kind: str) -> dict[str, str]:
    """Returns the files of the package: a dict from the relative path of each file to its text."""
    words = {
        **attrs.asdict(names),
        "kind": kind,
        "noun": "data set" if kind == "dataset" else kind,
        "guide": GUIDES.get(kind, "networks"),
        "group": '"auxar.commands"' if kind == "command" else "auxar",
        "entry": f"{names.module}:{names.function}" if kind == "command" else names.module,
    }
    common = "command" if kind == "command" else "common"
    templates = {
        "README.md": f"{common}/README.md.template",
        "pyproject.toml": "common/pyproject.toml.template",
        ".gitignore": "common/gitignore.template",
        f"src/{names.module}/__init__.py": f"{kind}/plugin.py.template",
        "tests/test_contract.py": f"{kind}/test_contract.py.template",
        "tests/test_registration.py": f"{common}/test_registration.py.template",
    }
    if kind != "command":
        templates[f"recipes/{names.component}.toml"] = f"{kind}/recipe.toml.template"
    return {path: render(template, words) for path, template in templates.items()}


def render(template: str, words: Mapping[str, object]) -> str:
    """The text of a template with words in place of their names."""
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)
