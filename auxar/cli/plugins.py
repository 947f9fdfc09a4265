"""`auxar plugins`: lists the components that recipes can use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import attrs

from auxar.cli.options import add_json, add_plugin_files
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `plugins` to the parser."""
    parser = commands.add_parser(
        "plugins",
        help="list every component that recipes can use",
        description="Lists every registered component: its kind, its provider, and its options with types and "
        "defaults.",
    )
    add_plugin_files(parser)
    add_json(parser)
    parser.set_defaults(command=_plugins)


def _plugins(options: argparse.Namespace) -> Result:
    from auxar.plugins import load_plugins

    registry = load_plugins(options.files)
    lines, records = [], []
    for (kind, name), component in sorted(registry.components.items()):
        provider = registry.providers[kind, name]
        lines += [f"{kind} {name}  [{provider}]", f"    {component.summary}"]
        record: dict[str, Any] = {"kind": kind, "name": name, "provider": provider, "summary": component.summary}
        fields = attrs.fields(component.config)
        record["options"] = [_option(field) for field in fields]
        lines += [f"    {field.name}: {_type_name(field)}{_shown_default(field)}" for field in fields]
        records.append(record)
    return Result(lines, records)


def _option(field: attrs.Attribute[Any]) -> dict[str, Any]:
    """An option's name, type and default value. The default is null if the option is required."""
    default = _default(field)
    required = default is attrs.NOTHING
    value = None if required else default if _is_plain(default) else repr(default)
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
    default = _default(field)
    if default is attrs.NOTHING:
        return " (required)"
    return f" = {default!r}"


def _default(field: attrs.Attribute[Any]) -> Any:
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()
    if isinstance(default, Path):
        default = str(default)
    # An option that selects a component has the form that it has in a recipe.
    return default.to_recipe() if hasattr(default, "to_recipe") else default
