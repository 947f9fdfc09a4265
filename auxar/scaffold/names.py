"""Derives the names of a new plugin package and checks that they are not taken."""

from __future__ import annotations

import builtins
import importlib.util
import keyword
import re
import sys
from collections.abc import Iterator

import attrs

from auxar.errors import UserError, shown
from auxar.plugins import Registry

_VALID = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


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
    if not _VALID.fullmatch(project):
        raise UserError(
            f"name {shown(project)}: expected lowercase letters and digits, starting with a letter, with single "
            f"hyphens or underscores between words"
        )
    module, component = project.replace("-", "_"), re.sub(r"^auxar[-_](?=[a-z])", "", project)
    if keyword.iskeyword(module):
        raise UserError(f"name '{project}': a Python keyword cannot be the name of a module; choose another name")
    prefix = "".join(word.capitalize() for word in re.split("[-_]", component))
    return PluginNames(project, module, component, component.replace("-", "_"), prefix)


def check_free(names: PluginNames, kind: str, registry: Registry) -> None:
    """Raises `UserError` if one of the names is already taken.

    A name may be taken by a component of this kind, or by an installed module, such as another plugin's.
    """
    for reason in _taken(names, kind, registry):
        raise UserError(f"name '{names.project}' is taken: {reason}; choose another name")


def _taken(names: PluginNames, kind: str, registry: Registry) -> Iterator[str]:
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
