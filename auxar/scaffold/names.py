"""What a new plugin package is called, and whether the name is free."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import re
from typing import cast

import attrs

from auxar.errors import UserError
from auxar.plugins import GROUP, Kind, Registry

_VALID = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@attrs.frozen
class PluginNames:
    """The names that follow from a package's: for auxar-half-tone …"""

    project: str
    """… of the project itself, auxar-half-tone."""

    @property
    def module(self) -> str:
        """… that Python imports, auxar_half_tone."""
        return self.project.replace("-", "_")

    @property
    def component(self) -> str:
        """… that recipes use, half-tone; the entry point has it too."""
        return re.sub(r"^auxar[-_](?=[a-z])", "", self.project)

    @property
    def class_prefix(self) -> str:
        """… that classes begin with, HalfTone."""
        return "".join(word.capitalize() for word in re.split("[-_]", self.component))


def plugin_names(project: str) -> PluginNames:
    """The names for a project. Raises `UserError` for what cannot be the name of a project and of a module."""
    if not _VALID.fullmatch(project):
        raise UserError(
            f"name '{project}': expected lower-case letters and digits, a letter first, with single hyphens or "
            f"underscores between words{_near(project)}"
        )
    names = PluginNames(project)
    if keyword.iskeyword(names.module):
        raise UserError(f"name '{project}': a word of the Python language cannot be imported{_other(names)}")
    return names


def check_free(names: PluginNames, kind: str, registry: Registry) -> None:
    """Raises `UserError` if a component, plugin, module or project that is installed has one of the names."""
    project, component = names.project, names.component
    provider = registry.providers.get((cast(Kind, kind), component))
    if provider:
        raise UserError(f"name '{project}': the {kind} '{component}' is provided by {provider}{_other(names)}")
    for entry in importlib.metadata.entry_points(group=GROUP, name=component):
        origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        raise UserError(f"name '{project}': {origin} has a plugin named '{component}'{_other(names)}")
    spec = importlib.util.find_spec(names.module)
    # Any folder on the path is found as a module without an origin; it shadows nothing.
    if spec is not None and spec.origin is not None:
        raise UserError(f"name '{project}': the module '{names.module}' is installed ({spec.origin}){_other(names)}")
    try:
        version = importlib.metadata.version(project)
    except importlib.metadata.PackageNotFoundError:
        return
    raise UserError(f"name '{project}': a project of this name is installed (version {version}){_other(names)}")


def _near(project: str) -> str:
    words = re.findall("[a-z0-9]+", project.lower())
    near = "-".join(words).lstrip("0123456789-")
    return f"; such as '{near}'" if near else ""


def _other(names: PluginNames) -> str:
    return f"; choose another name, such as 'my-{names.component}'"
