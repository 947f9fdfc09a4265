"""Writes a new plugin package from templates, with names that are not taken."""

from __future__ import annotations

import builtins
import importlib.util
import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template

import attrs

from auxar.data.writing import new_folder
from auxar.errors import UserError, did_you_mean, shown
from auxar.files import write_text
from auxar.plugins import Registry, load_plugins

PARTS = ("view", "network", "embedding", "head", "sampler")
"""The parts of a model."""
KINDS = (*PARTS, "augmentation", "optimizer", "schedule", "tracker", "dataset", "command")
GUIDES = {"view": "views", "dataset": "datasets", "command": "commands", "optimizer": "optimizers"}
GUIDES |= {"schedule": "optimizers", "augmentation": "recipes", "tracker": "recipes"}
"""The page of the documentation about a kind of plugin. The default is `networks`."""
TEMPLATES = Path(__file__).parent / "templates"
_VALID = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


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
        raise UserError(f"kind: there is no template for '{kind}'{did_you_mean(str(kind), KINDS)}")
    names = plugin_names(project)
    for reason in _taken(names, kind, load_plugins()):
        raise UserError(f"name '{project}' is taken: {reason}; choose another name")
    files = plugin_files(names, kind)
    folder = parent / project
    with new_folder(folder) as temporary:
        for path, text in files.items():
            write_text(temporary / path, text)
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


@attrs.frozen
class PluginNames:
    """The names derived from the name of a project. The examples are for auxar-half-tone."""

    project: str
    """The name of the project, such as auxar-half-tone."""
    module: str
    """The name of the module that Python imports, such as auxar_half_tone."""
    component: str
    """The name of the component or the command, and of the entry point, such as half-tone."""
    function: str
    """The name of the function of a command, such as half_tone."""
    prefix: str
    """The prefix of class names, such as HalfTone."""


def plugin_names(project: str) -> PluginNames:
    """Returns the names for a project. Raises `UserError` if a project or a Python module cannot have this name."""
    if not isinstance(project, str) or not _VALID.fullmatch(project):
        raise UserError(
            f"name {shown(project)}: expected lowercase letters and digits, starting with a letter, with single "
            f"hyphens or underscores between words"
        )
    module, component = project.replace("-", "_"), re.sub(r"^auxar[-_](?=[a-z])", "", project)
    if keyword.iskeyword(module):
        raise UserError(f"name '{project}': a Python keyword cannot be the name of a module; choose another name")
    prefix = "".join(word.capitalize() for word in re.split("[-_]", component))
    return PluginNames(project, module, component, component.replace("-", "_"), prefix)


def _taken(names: PluginNames, kind: str, registry: Registry) -> Iterator[str]:
    """Yields why a name is taken: by a component of this kind, or by an installed module, such as another plugin's."""
    component, function = names.component, names.function
    if provider := registry.providers.get((kind, component)):
        yield f"the {kind} '{component}' is provided by {provider}"
    if kind == "command" and (keyword.iskeyword(function) or hasattr(builtins, function) or _is_of_auxar(function)):
        yield f"the function of the command cannot be named '{function}'"
    spec = importlib.util.find_spec(names.module)
    # A plain folder on the path is found as a module without an origin. It does not conflict with the new module.
    if spec is not None and spec.origin is not None:
        yield f"the module '{names.module}' is installed ({spec.origin})"


def _is_of_auxar(name: str) -> bool:
    return hasattr(sys.modules["auxar"], name) or importlib.util.find_spec(f"auxar.{name}") is not None
