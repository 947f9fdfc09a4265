"""The command `plugins`: lists the components that recipes can use."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any

from auxar.arguments import as_paths
from auxar.commandline import WIDTH, Result, command
from auxar.errors import UserError, did_you_mean, one_line

if TYPE_CHECKING:
    from auxar.plugins import Registry


def _shown(found: Registry | dict[str, Any]) -> Result:
    import attrs

    from auxar.recipe.json_schema import plain_default, schema_text

    if isinstance(found, dict):
        return Result(schema_text(found).splitlines(), found)
    lines, records = [], []
    # A registry has the providers of all components, also if it has only the components that were asked for.
    are_chosen = len(found.components) < len(found.providers)
    for (kind, name), component in sorted(found.components.items()):
        provider, summary = found.providers[kind, name], component.summary
        options = []
        for field in attrs.fields(component.config):
            # The default of a required option is null.
            required, default = field.default is attrs.NOTHING, plain_default(field).get("default")
            of = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
            options.append({"name": field.name, "type": of, "required": required, "default": default})
        records.append({"kind": kind, "name": name, "provider": provider, "summary": summary, "options": options})
        line = f"{kind} {name}: {summary}"
        lines.append(f"{line} [{provider}]" if are_chosen else textwrap.shorten(line, WIDTH, placeholder=" …"))
        for own in options if are_chosen else ():
            usual = " (required)" if own["required"] else f" = {own['default']!r}"
            lines.append(f"    {own['name']}: {own['type']}{usual}")
    return Result(lines, records)


@command("Recipes and plugins", show=_shown)
def plugins(files: Iterable[str | PathLike[str]] = (), *, schema: bool = False) -> Registry | dict[str, Any]:
    """Lists every component that recipes can use.

    The list has the kind, name and summary of each registered component. Asked for by name or kind, components are
    shown with their providers, and their options with types and defaults.

    The JSON Schema of recipes (draft 7) has every key and every option of the components, with types, defaults and
    descriptions. Editors complete and check a recipe whose first line is `#:schema FILE`, where FILE contains it.

    Args:
        files (NAME|FILE): names or kinds of components to show with their options, such as pyramid or view, and
            plugin files to load in addition to the installed plugins, without --trust-plugins; they are code that runs
            with your rights
        schema: print the JSON Schema of recipes instead of the list

    Returns:
        The registry of the components, as `auxar.load_plugins` returns it, or the schema. If names or kinds are given,
        the registry has only their components.

    Raises:
        UserError: as `auxar.load_plugins`, or no component and no kind has a name
    """
    import attrs

    from auxar.plugins import load_plugins
    from auxar.recipe.json_schema import recipe_schema

    paths = as_paths(files, "files")
    registry = load_plugins(path for path in paths if path.suffix == ".py")
    names = {str(path) for path in paths if path.suffix != ".py"}
    known = {word for key in registry.components for word in key}
    for name in names - known:
        raise UserError(f"no component and no kind is named '{one_line(name)}'{did_you_mean(name, known)}")
    chosen = {key: component for key, component in registry.components.items() if not names or names & {*key}}
    return recipe_schema(registry) if schema else attrs.evolve(registry, components=chosen)
