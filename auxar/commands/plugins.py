"""The command `plugins`: lists the components that recipes can use."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
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
        fields = attrs.fields(component.config)
        record["options"] = [_option(field) for field in fields]
        lines += [f"    {field.name}: {_type_name(field)}{_shown_default(field)}" for field in fields]
        records.append(record)
    return Result(lines, records)


def _option(field: attrs.Attribute[Any]) -> dict[str, Any]:
    """An option's name, type and default value. The default is null if the option is required."""
    required, default = _default(field)
    value = default if _is_plain(default) else repr(default)
    return {"name": field.name, "type": _type_name(field), "required": required, "default": value}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(entry) for key, entry in value.items())
    return isinstance(value, str | int | float | None)


def _type_name(field: attrs.Attribute[Any]) -> str:
    return field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))


def _shown_default(field: attrs.Attribute[Any]) -> str:
    required, default = _default(field)
    return " (required)" if required else f" = {default!r}"


def _default(field: attrs.Attribute[Any]) -> tuple[bool, Any]:
    """Whether an option is required, and its default value, which is None if it is."""
    import attrs

    default: Any = field.default
    if default is attrs.NOTHING:
        return True, None
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()
    if isinstance(default, Path):
        default = str(default)
    # An option that selects a component has the form that it has in a recipe.
    return False, default.to_recipe() if hasattr(default, "to_recipe") else default


@command("Recipes and plugins", show=_shown)
def plugins(files: Iterable[str | PathLike[str]] = (), *, schema: bool = False) -> Registry | dict[str, Any]:
    """Lists every component that recipes can use.

    The list has each registered component: its kind, its provider, and its options with types and defaults. The JSON
    Schema of recipes (draft 7) has every key and every option of the components, with types, defaults, ranges and
    descriptions. Editors complete and check a recipe whose first line is `#:schema FILE`, where FILE contains it.

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
