"""JSON Schemas of plain values: the types, bounds, choices and defaults of the fields of attrs classes."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import validators

from auxar.recipe.choices import is_choice
from auxar.recipe.component_choice import ComponentChoice, default_of
from auxar.recipe.field_docs import class_summary, field_docs
from auxar.recipe.schema import KINDS_OF_LISTS
from auxar.recipe.structuring import RECIPES
from auxar.structuring import NO_KEY, table_if_given

Schema = dict[str, Any]
_SCALARS: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string"},
}
_OF_LISTS = {"minLength": "minItems", "maxLength": "maxItems"}
_COMPARISONS = {"<": "exclusiveMaximum", "<=": "maximum", ">=": "minimum", ">": "exclusiveMinimum"}
Keywords = list[Mapping[str, Any]]
# The classes of validators from attrs have no public names.
_OF_ATTRS: dict[type, Callable[[Any], Keywords]] = {
    type(validators.and_()): lambda found: [keys for each in found._validators for keys in _keywords(each)],
    type(validators.optional(())): lambda found: _keywords(found.validator),
    type(validators.deep_iterable(())): lambda found: [{"items": keys} for keys in _keywords(found.member_validator)],
    type(validators.ge(0)): lambda found: [{_COMPARISONS[found.compare_op]: found.bound}],
    type(validators.min_len(1)): lambda found: [{"minLength": found.min_length}],
    type(validators.max_len(1)): lambda found: [{"maxLength": found.max_length}],
    type(validators.in_(())): lambda found: [{"enum": list(found.options)}] if _is_plain(list(found.options)) else [],
}


def table_schema(cls: type, component: Callable[[attrs.Attribute[Any], Any], Schema], otherwise: str = "") -> Schema:
    """Returns the schema of a table, whose keys are the fields of an attrs class.

    `component(field, type)` returns the schema of a field that chooses a component. `otherwise` is the description of
    fields without a docstring.
    """
    hints = get_type_hints(cls)
    docs = field_docs(cls)
    properties: dict[str, Schema] = {}
    required = []
    for field in attrs.fields(cls):
        if not field.init or NO_KEY in field.metadata:
            continue
        hint = table_if_given(hints[field.name])
        is_table = attrs.has(hint) and not names_a_component(hint)
        description = docs.get(field.name) or (class_summary(hint) if is_table else otherwise)
        if names_a_component(hint):
            found = component(field, hint)
        elif hint == tuple[ComponentChoice, ...] and field.name in KINDS_OF_LISTS:
            found = {"type": "array", "items": component(field, ComponentChoice)}
        elif is_table:
            found = table_schema(hint, component, description)
        else:
            found = _restricted(_type_schema(hint), field.validator)
        described = {"description": description} if description else {}
        properties[field.alias] = described | found | plain_default(field)
        if field.default is attrs.NOTHING:
            required.append(field.alias)
    return {"type": "object", "additionalProperties": False, "properties": properties} | (
        {"required": required} if required else {}
    )


def names_a_component(hint: Any) -> bool:
    """Whether a value of this type names a component and its options."""
    return hint is ComponentChoice or is_choice(hint)


def has_required(cls: type) -> bool:
    """Whether a class has fields without a default."""
    return any(field.init and field.default is attrs.NOTHING for field in attrs.fields(cls))


def _type_schema(hint: Any) -> Schema:
    """Returns the schema of a type. An unknown type accepts any value."""
    if hint is ComponentChoice:
        return {"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        # TOML has no null: a key that is None is left out.
        kinds = [_type_schema(argument) for argument in arguments if argument is not types.NoneType]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin is list or (origin is tuple and arguments[1:] == (Ellipsis,)):
        return {"type": "array", "items": _type_schema(arguments[0])}
    if origin is tuple:
        items = {"items": _type_schema(arguments[0])} if len(set(arguments)) == 1 else {}
        return {"type": "array", **items, "minItems": len(arguments), "maxItems": len(arguments)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _type_schema(arguments[1])}
    return {}


def _restricted(schema: Schema, validator: Any) -> Schema:
    """Adds the keywords of a validator to a schema. An enumeration replaces the type, which follows from it."""
    for keywords in _keywords(validator):
        for key, value in keywords.items():
            if key == "items":
                schema["items"] = {**schema.get("items", {}), **value}
            else:
                schema[_OF_LISTS.get(key, key) if schema.get("type") == "array" else key] = value
    if "enum" in schema:
        schema.pop("type", None)
    return schema


def _keywords(validator: Any) -> Keywords:
    """Returns the keywords of JSON Schema that a validator checks, as far as they are known.

    They are known for validators marked with `checks` (auxar/validation.py), and for comparisons, choices
    and lengths from `attrs.validators`.
    """
    if hasattr(validator, "json_schema"):
        return [validator.json_schema]
    return _OF_ATTRS.get(type(validator), lambda found: [])(validator)


def plain_default(field: attrs.Attribute[Any]) -> Schema:
    """Returns the keyword `default`, or nothing if the default cannot be written in TOML or is a table of its own."""
    default = default_of(field)
    if default is attrs.NOTHING:
        return {}
    if isinstance(default, ComponentChoice) and not default.options:
        return {"default": default.name}
    if attrs.has(type(default)) and not names_a_component(type(default)):
        return {}
    value = _listed(RECIPES.unstructure(default))
    return {"default": value} if _is_plain(value) else {}


def _listed(value: Any) -> Any:
    return [_listed(entry) for entry in value] if isinstance(value, list | tuple) else value


def _is_plain(value: Any) -> bool:
    """Whether a value is a finite number, a string, a boolean, or a list or table of such values."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(entry) for key, entry in value.items())
    return isinstance(value, str) or (isinstance(value, int | float) and -math.inf < value < math.inf)
