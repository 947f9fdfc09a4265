"""The command `plugins`: lists the components that recipes can use."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import TYPE_CHECKING, Any

from auxar.commandline import Result, command

if TYPE_CHECKING:
    import attrs

    from auxar.plugins import Registry


def _shown(found: Registry | dict[str, Any]) -> Result:
    import attrs

    from auxar.recipe.json_schema import schema_text

    if isinstance(found, dict):
        return Result(schema_text(found).splitlines(), found)
    lines, records = [], []
    for (kind, name), component in sorted(found.components.items()):
        provider = found.providers[kind, name]
        lines += [f"{kind} {name}  [{provider}]", f"    {component.summary}"]
        record: dict[str, Any] = {"kind": kind, "name": name, "provider": provider, "summary": component.summary}
        record["options"] = options = [_option(field) for field in attrs.fields(component.config)]
        for own in options:
            usual = " (required)" if own["required"] else f" = {own['default']!r}"
            lines.append(f"    {own['name']}: {own['type']}{usual}")
        records.append(record)
    return Result(lines, records)


def _option(field: attrs.Attribute[Any]) -> dict[str, Any]:
    """An option's name, type and default value. The default is null if the option is required."""
    import attrs

    from auxar.recipe.json_schema import plain_default

    required, default = field.default is attrs.NOTHING, plain_default(field).get("default")
    return {"name": field.name, "type": _type_name(field), "required": required, "default": default}


def _type_name(field: attrs.Attribute[Any]) -> str:
    return field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))


@command("Recipes and plugins", show=_shown)
def plugins(files: Iterable[str | PathLike[str]] = (), *, schema: bool = False) -> Registry | dict[str, Any]:
    """Lists every component that recipes can use.

    The list has each registered component: its kind, its provider, and its options with types and defaults. The JSON
    Schema of recipes (draft 7) has every key and every option of the components, with types, defaults and descriptions.
    Editors complete and check a recipe whose first line is `#:schema FILE`, where FILE contains it.

    Args:
        files (FILE): plugin files to load in addition to the installed plugins, without --trust-plugins; they are code
            that runs with your rights
        schema: print the JSON Schema of recipes instead of the list

    Returns:
        The registry of the components, as `auxar.load_plugins` returns it, or the schema.

    Raises:
        UserError: as `auxar.load_plugins`
    """
    from auxar.plugins import load_plugins
    from auxar.recipe.json_schema import recipe_schema

    registry = load_plugins(files)
    return recipe_schema(registry) if schema else registry
