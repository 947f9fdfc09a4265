"""The JSON Schema of recipes, with which editors complete and check them.

It is of draft 7, the newest draft that taplo supports (the language server of the extension Even Better TOML for VS
Code). Errors of the schema are to be understood by people, so a component is checked by a sequence of conditions on its
name. Completion in taplo ignores conditions, but follows `anyOf`, so the same tables are in an `anyOf`, too, whose last
entries accept every string and every table.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from auxar.plugins import Component, Registry, load_plugins
from auxar.recipe.component_choice import ComponentChoice, default_of
from auxar.recipe.data_config import DataConfig
from auxar.recipe.field_docs import class_summary
from auxar.recipe.json_values import Schema, has_required, names_a_component, table_schema
from auxar.recipe.loading import COMMON_KEYS
from auxar.recipe.schema import (
    CHANNELS,
    KINDS_OF_LISTS,
    MOST_LEVELS,
    MOST_STAGES,
    OTHER_NAMES,
    Recipe,
    SamplingConfig,
    Stage,
    TrainingConfig,
)

_ANY = [{"type": "string"}, {"type": "object", "additionalProperties": True}]


def recipe_schema(registry: Registry | None = None) -> dict[str, Any]:
    """Returns the JSON Schema (draft 7) of recipes with the components of a registry.

    By default these are the components of all installed plugins. A recipe with the key `plugins` may also use
    components that the registry does not have, with any options.

    Examples:
        >>> schema = recipe_schema()
        >>> schema["properties"]["image"]["properties"]["height"]["maximum"]
        65536
    """
    return _Builder(registry or load_plugins()).recipe()


def schema_text(schema: Schema) -> str:
    """Formats a schema as JSON."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


class _Builder:
    """Builds the schema of recipes with the components of one registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.definitions: dict[str, Schema] = {}

    def defined(self, key: str, make: Callable[[], Schema]) -> Schema:
        """Returns a reference to a definition, which `make` makes if it is not there. It may refer to itself."""
        if key not in self.definitions:
            self.definitions[key] = {}
            self.definitions[key] = make()
        return {"$ref": f"#/definitions/{key}"}

    def recipe(self) -> Schema:
        table = self.table(Recipe)
        properties = table["properties"]
        properties["image"]["properties"]["channels"] |= {"enum": list(CHANNELS)}
        properties["image"]["properties"]["levels"] |= {"maximum": MOST_LEVELS}
        properties["stage"] = {
            "description": class_summary(Stage),
            "type": "array",
            "maxItems": MOST_STAGES,
            "items": self.table(Stage),
        }
        properties["training"] = self.training(properties["training"])
        properties["data"] = self.data(properties["data"])
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Recipe of auxar",
            **table,
            # Without plugin files, all components are known. The tables above accept every name.
            "if": _has("plugins"),
            "else": self.known_names(),
            "definitions": dict(sorted(self.definitions.items())),
        }

    def table(self, cls: type) -> Schema:
        return table_schema(cls, self.choice)

    def data(self, table: Schema) -> Schema:
        """Returns the schema of [data], in which `options` are those of the registered data set that `path` names."""
        crop = table["properties"]["crop"]
        described = {"description": crop.pop("description"), "anyOf": [{"enum": ["random"]}, crop]}
        return {**table, **self.data_options(), "properties": {**table["properties"], "crop": described}}

    def data_options(self) -> Schema:
        def make() -> Schema:
            chosen: Schema = {"additionalProperties": True}
            for name in reversed(self.registry.names("dataset")):
                condition = _is_object({"path": {"const": name}})
                options = _open({"options": self.table(self.registry.components["dataset", name].config)})
                chosen = {"additionalProperties": True, "if": condition, "then": options, "else": chosen}
            return chosen

        return {"allOf": [self.defined("data-options", make)]}

    def training(self, table: Schema) -> Schema:
        data = table["properties"]["data"]
        keys = _shared("data", attrs.fields_dict(DataConfig))
        data |= {**self.data_options(), "properties": data["properties"] | keys}
        own = _shared("training", [key for key in table["properties"] if key not in COMMON_KEYS])
        for field in _choices(TrainingConfig):
            own[field.name] = _or_options(table["properties"][field.name])
        factor = {
            "type": "object",
            "description": "Settings of one factor, which replace those of [training].",
            "additionalProperties": False,
            "properties": own,
            "not": _has("steps", "epochs"),
        }
        reference = self.defined("factor", lambda: factor)
        factors = {
            "type": "object",
            "description": "Settings of single factors, [training.factor.NAME]: `stage0` (the image given its view), "
            "…, `prior` (the coarsest view), and `condition` if it is modelled.",
            "additionalProperties": False,
            "properties": dict.fromkeys(("prior", "condition"), reference),
            "patternProperties": {"^stage(0|[1-9][0-9]?)$": reference},
        }
        return {
            **table,
            "properties": {**table["properties"], "factor": factors},
            # Exactly one of the lengths. Messages about `oneOf` would not name the keys.
            "if": _has("steps"),
            "then": {"not": _has("epochs"), "additionalProperties": True},
            "else": _has("epochs"),
        }

    def choice(self, field: attrs.Attribute[Any], hint: Any) -> Schema:
        """Returns the schema of a key that names a component, as a string or as a table with the component's options.

        A component with another name is accepted with any options.
        """
        kind = kind_of(field, hint)
        if kind is None:
            return {}
        options = {name: self.options(kind, name) for name in self.names(kind, hint)}
        schema: Schema = {
            "additionalProperties": True,
            "if": _is_object(),
            "then": {**_open({"name": {"type": "string"}}), **_has("name")},
        }
        if (kind, usual := _default_name(field)) in self.registry.components:
            # A table without a name has options of the default component.
            config = self.registry.components[kind, usual].config
            options_only = self.defined(f"usual-{kind}-{usual}", lambda: self.table(config))
            schema |= {"if": _has("name"), "else": options_only}
        for name, table in reversed(options.items()):
            condition = _is_object({"name": {"const": name}})
            schema = {"additionalProperties": True, "if": condition, "then": table, "else": schema}
        return {"anyOf": [_among(self.short_names(kind, hint)), *options.values(), *_ANY], **schema}

    def options(self, kind: str, name: str) -> Schema:
        """Returns a reference to the definition of a component's table: its name and its options."""
        component = self.registry.get(kind, name, kind) if name in self.registry.names(kind) else None
        kind = component.kind if component else kind  # A network is a prior and a decoder.
        # Some tools take keys for equal that differ only in characters other than letters and digits.
        key = f"{kind}-{urllib.parse.quote(name, safe='').replace('%', '')}"
        return self.defined(key, lambda: self.component_table(name, component))

    def component_table(self, name: str, component: Component | None) -> Schema:
        empty: Schema = {"type": "object", "additionalProperties": False, "properties": {}}
        table = self.table(component.config) if component else empty
        summary = class_summary(component.config) if component else ""
        named = {"name": {"const": name}}
        return {
            "title": name,
            **({"description": summary} if summary else {}),
            **table,
            "properties": named | table["properties"] | named,  # `name` is the component's, whatever its options are.
            "required": ["name", *table.get("required", [])],
        }

    def names(self, kind: str, hint: Any) -> list[str]:
        """Returns the names among which a key of this type chooses."""
        return [*_other_names(kind, hint), *self.registry.names(kind)]

    def short_names(self, kind: str, hint: Any) -> list[str]:
        """Returns the names that a string may be, which are those of components without required options."""
        own = self.registry.names(kind)
        return [
            name
            for name in self.names(kind, hint)
            if name not in own or not has_required(self.registry.get(kind, name, kind).config)
        ]

    def known_names(self) -> Schema:
        """Returns a schema that accepts recipes in which all names of components are known."""
        keys = {field.name: self.known(field.name, ComponentChoice) for field in _choices(Recipe)}
        stage = {field.name: self.known(field.name, ComponentChoice) for field in _choices(Stage)}
        stages = {"type": "array", "items": _open(stage)}
        condition = _open({key: self.known(key, ComponentChoice) for key in ("embedding", "prior")})
        tables = {
            name: _open({field.name: self.known(field.name, ComponentChoice) for field in _choices(table)})
            for name, table in (("sampling", SamplingConfig), ("training", TrainingConfig))
        }
        lists = {key: {"items": self.known(kind, ComponentChoice)} for key, kind in KINDS_OF_LISTS.items()}
        tables["training"] = _open({**tables["training"]["properties"], **lists})
        factors = {"type": "object", "additionalProperties": tables["training"]}
        tables["training"] = _open({**tables["training"]["properties"], "factor": factors})
        return _open({**keys, **tables, "stage": stages, "condition": condition})

    def known(self, kind: Any, hint: Any) -> Schema:
        """Returns a reference to the definition of components of a kind, and of the components that they choose."""

        def make() -> Schema:
            fields = [
                f for name in self.registry.names(kind) for f in _choices(self.registry.get(kind, name, kind).config)
            ]
            inner = {f.name: self.known(own, f.type) for f in fields if (own := kind_of(f, f.type)) is not None}
            named = {"name": _among(self.names(kind, hint))}
            return {
                "anyOf": _ANY,  # Without it, tombi does not check strings.
                "if": {"type": "string"},
                "then": _among(self.short_names(kind, hint)),
                "else": _open(named | inner),
            }

        return self.defined("-".join(["known", kind, *_other_names(kind, hint)]), make)


def kind_of(field: attrs.Attribute[Any], hint: Any) -> Any:
    """Returns the kind of component that a key chooses, or None if the class of the choice does not say it.

    The keys of recipes that choose a component have the name of its kind, except for keys with lists.
    """
    return KINDS_OF_LISTS.get(field.name, field.name) if hint is ComponentChoice else getattr(hint, "kind", None)


def _default_name(field: attrs.Attribute[Any]) -> str:
    """The name of the component that a key chooses if it is left out; empty if there is none."""
    found = default_of(field)
    return str(getattr(getattr(found, "component", None) or found, "name", ""))


def _other_names(kind: str, hint: Any) -> Sequence[str]:
    """Returns the names that a choice accepts besides those of components, such as `float`."""
    return OTHER_NAMES.get(kind, ()) if hint is ComponentChoice else ()


def _choices(cls: type) -> Iterator[attrs.Attribute[Any]]:
    return (field for field in attrs.fields(attrs.resolve_types(cls)) if names_a_component(field.type))


def _is_object(properties: Schema | None = None) -> Schema:
    found: Schema = {"type": "object", "additionalProperties": True}
    return {**found, "required": list(properties), "properties": properties} if properties else found


def _or_options(choice: Schema) -> Schema:
    """The schema of a choice in the table of a factor. Without a name, it changes options of a component elsewhere."""
    described: Schema = {key: choice[key] for key in ("description", "anyOf", "default") if key in choice}
    rest = {key: value for key, value in choice.items() if key not in described}
    nameless = {"type": "object", "not": {"required": ["name"]}, "additionalProperties": True}
    return {**described, "additionalProperties": True, "if": nameless, "else": rest}


def _shared(table: str, keys: Iterable[str]) -> Schema:
    """References to the schemas of keys of a table."""
    return {key: {"$ref": f"#/properties/{table}/properties/{key}"} for key in keys}


def _among(names: Sequence[str]) -> Schema:
    # An empty `enum` is not allowed.
    return {"enum": list(names)} if names else {"not": {}}


def _has(*keys: str) -> Schema:
    return {"required": list(keys), "additionalProperties": True}


def _open(properties: Schema) -> Schema:
    # tombi warns of keys that are not named, unless additional properties are accepted explicitly.
    return {"properties": properties, "additionalProperties": True}
