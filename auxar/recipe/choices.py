"""Component options that choose another component by name, such as the head of a network or the engine of a sampler.

Each kind of choice is a class with two methods. The class method `from_recipe(value, registry, path)` creates a choice
from a value in a recipe, and `to_recipe()` converts the choice back to such a value. A component's config class uses
the choice class as the type of a field, and the default of this field must be a factory. The class attribute `kind` is
the kind of the components among which it chooses; without it, the JSON Schema of recipes accepts any value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import attrs

from auxar.errors import UserError
from auxar.model import Head, ImageSpec
from auxar.plugins import Component, Kind, Registry
from auxar.recipe.structuring import read_component, structure, unstructure

T = TypeVar("T")


@attrs.frozen
class HeadChoice:
    """The choice of a likelihood head with its options.

    A recipe writes it as `head = "softmax"` or `head = { name = "logistic_mixture", components = 10 }`.
    """

    kind: ClassVar[Kind] = "head"
    component: Component
    """The registered head."""
    config: Any
    """The options, as an instance of the component's config class."""

    @classmethod
    def from_recipe(cls, value: Any, registry: Registry, path: str) -> HeadChoice:
        """Creates the choice from the value of the key `path` in a recipe.

        Raises `UserError` with the path of an invalid key.
        """
        name, options = named_options(value, path, "head")
        component = registry.get("head", name, path)
        return cls(component, structure_options(options, component.config, path, registry))

    def to_recipe(self) -> Any:
        """Returns this choice as a table, which `from_recipe` reads."""
        return {"name": self.component.name, **unstructure(self.config)}

    def build(self, image: ImageSpec) -> Head:
        """Builds the head for images with the shape and levels of `image`.

        Raises `UserError` if the head does not support them.
        """
        try:
            head: Head = self.component.build(self.config, image)
        except UserError as error:
            raise UserError(f"head '{self.component.name}' {error}") from None
        return head


def is_choice(kind: Any) -> bool:
    """Whether a type is the class of a choice of a component."""
    return hasattr(kind, "from_recipe")


def named_options(value: Any, path: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Returns the name and the options of a component, which a recipe writes as `"name"` or `{ name = "…", … }`.

    `kind` and `path` are used in error messages. Raises `UserError` if the value has another form.
    """
    try:
        choice = read_component(value, kind)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None
    return choice.name, dict(choice.options)


def structure_options(table: Any, config: type[T], path: str, registry: Registry) -> T:
    """Creates an instance of a component's config class from the component's options in a recipe.

    Raises `UserError` with the paths of invalid keys.
    """
    if isinstance(table, Mapping):
        table = dict(table)
        for field in attrs.fields(attrs.resolve_types(config)):  # type: ignore[type-var, arg-type]
            if not is_choice(field.type):
                continue
            if field.name not in table and field.default is not attrs.NOTHING:
                # Defaults are looked up in the registry too, because it decides which component a name refers to.
                table[field.name] = field.default.factory().to_recipe()
            if field.name in table:
                table[field.name] = field.type.from_recipe(table[field.name], registry, f"{path}.{field.name}")
    return structure(table, config, path)
