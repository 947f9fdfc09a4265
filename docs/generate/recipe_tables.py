"""The reference of recipes (keys of tables and options of components) and their JSON Schema, read from the classes."""

import inspect
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
from markdown_tables import table

from auxar.model import ImageSpec
from auxar.plugins import Component, Registry, load_plugins
from auxar.recipe.component_choice import ComponentChoice
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.data_config import DataConfig
from auxar.recipe.json_schema import class_summary, field_docs, names_a_component, recipe_schema, schema_text
from auxar.recipe.schema import EvaluationConfig, SamplingConfig, Stage, TrainingConfig

TABLES: dict[str, type] = {
    "image": ImageSpec,
    "data": DataConfig,
    "stage": Stage,
    "condition": ConditionConfig,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "sampling": SamplingConfig,
}
TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", Path: "path"}
KINDS = {"dataset": "Data sets"}


@attrs.frozen
class Key:
    """A key of a recipe's table, or an option of a component."""

    name: str
    type: str
    default: str
    meaning: str


def keys(name: str) -> str:
    """Formats the keys of a recipe's table as a Markdown table of type, default and meaning."""
    return _rows("key", TABLES[name])


def components() -> str:
    """Formats a Markdown section for each component that comes with auxar, with a table of its options."""
    registry = load_plugins()
    parts = []
    for kind in registry.kinds:
        names = sorted(name for known, name in registry.components if known == kind and _is_ours(registry, kind, name))
        if names:
            parts.append(f"## {KINDS.get(kind, kind.capitalize() + 's')}")
        parts += [_component(registry.components[kind, name]) for name in names]
    return "\n\n".join(parts)


def schema() -> str:
    """Formats the JSON Schema of recipes with the components that come with auxar."""
    registry = load_plugins()
    ours = {key: value for key, value in registry.components.items() if _is_ours(registry, *key)}
    return schema_text(recipe_schema(attrs.evolve(registry, components=ours)))


def keys_of(cls: type, prefix: str = "", otherwise: str = "") -> Iterator[Key]:
    """Yields the fields of a configuration class. A field of a nested class is named by its dotted path.

    `prefix` is the path of the class itself, and `otherwise` the meaning of fields without a docstring.
    """
    hints = get_type_hints(cls)
    meanings = field_docs(cls)
    for field in attrs.fields(cls):
        hint = hints[field.name]
        meaning = meanings.get(field.name, otherwise)
        if attrs.has(hint) and not names_a_component(hint):
            yield from keys_of(hint, f"{prefix}{field.name}.", meaning or class_summary(hint))
        else:
            yield Key(prefix + field.name, _type_name(hint), _default(field), meaning)


def _is_ours(registry: Registry, kind: str, name: str) -> bool:
    """Whether a component comes with auxar. Other plugins may be installed where the reference is generated."""
    return "(auxar " in registry.providers[kind, name]


def _component(component: Component) -> str:
    text = f"### `{component.name}` ({component.kind})\n\n{inspect.cleandoc(component.config.__doc__ or '')}"
    options = _rows("option", component.config) if attrs.fields(component.config) else "It has no options."
    return f"{text}\n\n{options}"


def _rows(title: str, cls: type) -> str:
    rows = [[f"`{key.name}`", key.type, key.default, key.meaning] for key in keys_of(cls)]
    return table([title, "type", "default", "meaning"], rows)


def _type_name(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(argument) for argument in arguments if argument is not types.NoneType)
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"list of {count}{_type_name(arguments[0])}s"
    if origin is Mapping:
        return "table"
    if names_a_component(hint):
        return "component"
    if attrs.has(hint):
        return "table"
    return TYPES.get(hint) or getattr(hint, "__name__", str(hint))


def _default(field: attrs.Attribute) -> str:
    default: Any = field.default
    if default is attrs.NOTHING:
        return "required"
    if isinstance(default, attrs.Factory):
        # A default that depends on other keys is described in the meaning.
        default = None if default.takes_self else default.factory()
    return "–" if default is None else f"`{_toml(default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, ComponentChoice):
        value = value.name
    elif hasattr(value, "to_recipe"):
        # Only the name is shown, as for `ComponentChoice`. Options are listed in the component's own section.
        said = value.to_recipe()
        value = said if isinstance(said, str) else said["name"]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
