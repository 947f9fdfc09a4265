"""Options whose value names a component: the head of a network, the engine of a sampler.

A class of such values has two methods: `from_recipe(value, registry, path)`, a class method that makes one from what a
recipe says, and `to_recipe()`, which gives that back. A component's config class uses it as the type of a field, with a
factory as its default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from auxar.errors import UserError
from auxar.interfaces import Head, ImageSpec
from auxar.plugins import Component, Registry
from auxar.recipe.structuring import read_component, structure, unstructure

T = TypeVar("T")


@attrs.frozen
class HeadChoice:
    """A likelihood head with its options: `head = "softmax"` or `head = { name = "logistic_mixture", components = 10 }`
    in a recipe."""

    component: Component
    config: Any

    @classmethod
    def from_recipe(cls, value: Any, registry: Registry, path: str) -> HeadChoice:
        """The head that a recipe names. Raises `UserError` with the path of the key that is wrong."""
        name, options = named_options(value, path, "head")
        component = registry.get("head", name, path)
        return cls(component, structure_options(options, component.config, path, registry))

    def to_recipe(self) -> Any:
        """The table that `from_recipe` reads back to this choice."""
        return {"name": self.component.name, **unstructure(self.config)}

    def build(self, image: ImageSpec) -> Head:
        """The head for an image. Raises `UserError` for an image that the head cannot describe."""
        try:
            head: Head = self.component.build(self.config, image)
        except UserError as error:
            raise UserError(f"head '{self.component.name}' {error}") from None
        return head


def named_options(value: Any, path: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a component that is written as `"name"` or as `{ name = "…", … }`."""
    try:
        choice = read_component(value, kind)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None
    return choice.name, dict(choice.options)


def structure_options(table: Any, config: type[T], path: str, registry: Registry) -> T:
    """A component's config from the options that a recipe gives.

    A config class may have a class method `upgraded(options)`, which brings options of earlier versions into today's
    form, or raises a `UserError` that begins with the key that is wrong.

    Raises `UserError` with the path of every key that is wrong.
    """
    if isinstance(table, Mapping):
        upgraded: Callable[[Any], Any] = getattr(config, "upgraded", dict)
        try:
            table = dict(upgraded(table))
        except UserError as error:
            raise UserError(f"{path}.{error}") from None
        for field in attrs.fields(attrs.resolve_types(config)):  # type: ignore[type-var, arg-type]
            if not hasattr(field.type, "from_recipe"):
                continue
            if field.name not in table and field.default is not attrs.NOTHING:
                # Defaults are looked up as well: the registry decides which components there are.
                table[field.name] = field.default.factory().to_recipe()
            if field.name in table:
                table[field.name] = field.type.from_recipe(table[field.name], registry, f"{path}.{field.name}")
    return structure(table, config, path)
