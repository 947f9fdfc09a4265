"""`auxar plugins`: lists the components that recipes can use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import attrs


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `plugins` to the parser."""
    parser = verbs.add_parser(
        "plugins",
        help="list every component that recipes can use",
        description="Lists every registered component: its kind, its provider, and its options with types and "
        "defaults.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="plugin files to load in addition to the installed plugins, without --trust-plugins; they are code that "
        "runs with your rights",
    )
    parser.set_defaults(command=_plugins)


def _plugins(options: argparse.Namespace) -> None:
    from auxar.plugins import load_plugins

    registry = load_plugins(options.files)
    for (kind, name), component in sorted(registry.components.items()):
        print(f"{kind} {name}  [{registry.providers[kind, name]}]\n    {component.summary}")
        for field in attrs.fields(component.config):
            print(f"    {field.name}: {_type_name(field.type)}{_default(field)}")


def _type_name(of: object) -> str:
    return of if isinstance(of, str) else getattr(of, "__name__", str(of))


def _default(field: attrs.Attribute[Any]) -> str:
    default: Any = field.default
    if default is attrs.NOTHING:
        return " (required)"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()
    if isinstance(default, Path):
        default = str(default)
    # An option that selects a component is printed in the form that it has in a recipe.
    return f" = {default.to_recipe() if hasattr(default, 'to_recipe') else default!r}"
