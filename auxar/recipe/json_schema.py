"""The JSON Schema of recipes, with which editors complete keys and names, and mark unknown keys and wrong types.

It is of draft 7, the newest draft that taplo supports (the language server of the extension Even Better TOML for VS
Code). Ranges of values, and rules that join several keys, are left to `auxar check`.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import json
import textwrap
import types
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from auxar.plugin_files import FAILURES
from auxar.plugins import Registry, load_plugins
from auxar.recipe.choices import is_choice
from auxar.recipe.component_choice import ComponentChoice, default_of
from auxar.recipe.loading import COMMON_KEYS
from auxar.recipe.schema import KINDS_OF_LISTS, OTHER_NAMES, Recipe, Stage
from auxar.recipe.structuring import RECIPES
from auxar.structuring import NO_KEY, table_if_given

Schema = dict[str, Any]
SCALARS: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string"}


def recipe_schema(registry: Registry | None = None) -> Schema:
    """Returns the JSON Schema (draft 7) of recipes with the components of a registry.

    By default these are the components of all installed plugins. A recipe may use other components with any options.

    Examples:
        >>> schema = recipe_schema()
        >>> schema["properties"]["image"]["properties"]["height"]["type"]
        'integer'
    """
    return _Builder(registry or load_plugins()).recipe()


def schema_text(schema: Schema) -> str:
    """Formats a schema as JSON."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def names_a_component(hint: Any) -> bool:
    """Whether a value of this type names a component and its options."""
    return hint is ComponentChoice or is_choice(hint)


def plain_default(field: attrs.Attribute[Any]) -> Schema:
    """Returns the keyword `default`, or nothing if the default cannot be written in TOML or is a table of its own."""
    default = default_of(field)
    if default is attrs.NOTHING or (attrs.has(type(default)) and not names_a_component(type(default))):
        return {}
    if isinstance(default, ComponentChoice) and not default.options:
        return {"default": default.name}
    try:
        value = json.loads(json.dumps(RECIPES.unstructure(default), allow_nan=False))
    except (TypeError, ValueError):
        return {}
    return {} if value is None else {"default": value}


class _Builder:
    """Builds the schema of recipes with the components of one registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.definitions: dict[str, Schema] = {}

    def recipe(self) -> Schema:
        table = self.table(Recipe)
        properties = table["properties"]
        properties["stage"] |= {"items": self.table(Stage), "description": class_summary(Stage)}
        crop = properties["data"]["properties"]["crop"]
        properties["data"]["properties"]["crop"] = {"anyOf": [{"const": "random"}, crop]}
        training = properties["training"]["properties"]
        own = {key: {"$ref": f"#/properties/training/properties/{key}"} for key in training if key not in COMMON_KEYS}
        own |= {key: {} for key in own if key in self.registry.kinds}  # They may have options without a name.
        training["factor"] = {
            "type": "object",
            "description": "Settings of single factors, [training.factor.NAME]: `stage0` (the image given its view), "
            "…, `prior` (the coarsest view), and `condition` if it is modeled.",
            "additionalProperties": {"type": "object", "additionalProperties": False, "properties": own},
        }
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Recipe of auxar",
            **table,
            "definitions": dict(sorted(self.definitions.items())),
        }

    def table(self, cls: type, otherwise: str = "") -> Schema:
        """The schema of a table with the fields of a class; `otherwise` describes fields without a docstring."""
        hints: dict[str, Any] = {}
        with contextlib.suppress(*FAILURES):  # A plugin may name a type that there is not.
            hints = get_type_hints(cls)
        docs = field_docs(cls)
        properties: dict[str, Schema] = {}
        fields = [field for field in attrs.fields(cls) if field.init and NO_KEY not in field.metadata]
        for field in fields:
            hint = table_if_given(hints.get(field.name, Any))
            said = docs.get(field.name) or (class_summary(hint) if attrs.has(hint) else otherwise)
            found = self.value(field, hint, said)
            properties[field.alias] = ({"description": said} if said else {}) | found | plain_default(field)
        required = [field.alias for field in fields if field.default is attrs.NOTHING]
        return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}

    def value(self, field: attrs.Attribute[Any], hint: Any, said: str) -> Schema:
        kind = KINDS_OF_LISTS.get(field.name, field.name if hint is ComponentChoice else getattr(hint, "kind", None))
        if names_a_component(hint):
            return self.choice(kind, default_of(field))
        if hint == tuple[ComponentChoice, ...]:
            return {"type": "array", "items": self.choice(kind, None)}
        if choices := getattr(field.validator, "choices", ()):
            return {"enum": list(choices)}
        return self.table(hint, said) if attrs.has(hint) else _of_type(hint)

    def choice(self, kind: Any, usual: Any) -> Schema:
        """The schema of a key that chooses a component of a kind: its name, or a table with its name and options.

        Without a name, the table has options of the component `usual`. Other names may have any options.
        """
        own = self.registry.names(kind)
        names = [*OTHER_NAMES.get(kind, ()), *own]
        others = {"type": "object", "required": ["name"], "properties": {"name": {"not": {"enum": names}}}}
        tables = [self.options(kind, name, {"name": {"const": name}}) for name in own]
        found: list[Schema] = [{"enum": names}, {"type": "string"}, *tables, others] if names else []
        name = str(getattr(getattr(usual, "component", None) or usual, "name", ""))
        nameless = [self.options(kind, name, {})] if name in own else []
        return {"anyOf": [*found, *nameless]} if found else {}

    def options(self, kind: str, name: str, named: Schema) -> Schema:
        """A reference to the definition of a component's table of options, after the keys `named`."""
        component = self.registry.get(kind, name, kind)
        # Some tools take keys for equal that differ only in characters other than letters and digits.
        key = f"{component.kind}-{urllib.parse.quote(name, safe='').replace('%', '')}"
        key = key if named else f"usual-{key}"
        if key not in self.definitions:
            self.definitions[key] = {}  # A definition may refer to itself.
            table = self.table(component.config)
            own = {"properties": named | table["properties"] | named, "required": [*named, *table["required"]]}
            self.definitions[key] = {"title": name, "description": class_summary(component.config), **table, **own}
        return {"$ref": f"#/definitions/{key}"}


def _of_type(hint: Any) -> Schema:
    """The schema of a type. An unknown type accepts any value."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in SCALARS:
        return {"type": SCALARS[hint]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        # TOML has no null: a key that is None is left out.
        kinds = [_of_type(argument) for argument in arguments if argument is not types.NoneType]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin in (list, tuple):
        items = {"items": _of_type(arguments[0])} if len({*arguments} - {...}) == 1 else {}
        return {"type": "array", **items}
    return {"type": "object"} if origin in (dict, Mapping) else {}


def field_docs(cls: type) -> dict[str, str]:
    """Returns the docstrings of a class's fields by field name, each as one line.

    The docstring of a field is the string below it in the source, in the class itself or in a class that it inherits
    from. A class whose source is not available has no such docstrings.
    """
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            [definition] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):  # There is no source, or it is not that of a class.
            continue
        statements = definition.body if isinstance(definition, ast.ClassDef) else []
        for statement, below in itertools.pairwise(statements):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                docs[ast.unparse(statement.target)] = " ".join(str(below.value.value).split())
    return docs


def class_summary(cls: type) -> str:
    """Returns the first paragraph of a class's docstring as one line, or "" if it has none."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].split())
