"""Component options that choose another component by name, such as the head of a network or the engine of a sampler.

The config class of such a component has a field whose type is a subclass of `Choice`, which gives the kind of the
other component. The type may also be any other class with the methods
`from_recipe(value, registry, path)` and `to_recipe()`. If it has no class attribute `kind`, the JSON Schema of recipes
accepts any value of the option.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

import attrs

from auxar.errors import UserError
from auxar.model import Head, ImageSpec
from auxar.plugins import Component, Registry
from auxar.recipe.component_choice import ComponentChoice, built, default_of
from auxar.recipe.structuring import component_table, read_component, structure, unstructure

T = TypeVar("T")


@attrs.frozen
class Choice:
    """The choice of a component of the kind `kind`, which a subclass defines, with its options.

    A recipe writes it as `"NAME"` or `{ name = "NAME", … }`. A config class may have fields of such subclasses: its
    component then chooses components of other kinds.
    """

    kind: ClassVar[str]
    component: Component
    """The registered component."""
    config: Any
    """The options, as an instance of the component's config class."""

    @classmethod
    def from_recipe(cls, value: Any, registry: Registry, path: str) -> Self:
        """Creates the choice from the value of the key `path` in a recipe.

        Raises `UserError` with the path of an invalid key.
        """
        found = resolved(read_choice(value, path, cls.kind), cls.kind, path, registry)
        assert found.component is not None
        return cls(found.component, found.config)

    def to_recipe(self) -> Any:
        """Returns this choice as a table, which `from_recipe` reads."""
        return {"name": self.component.name, **unstructure(self.config)}

    def build(self, *arguments: Any, **named: Any) -> Any:
        """Builds the component. Raises `UserError`, with the component's name, if it does not support the arguments."""
        return built(self.component, self.config, *arguments, **named)


class HeadChoice(Choice):
    """The choice of a likelihood head with its options.

    A recipe writes it as `head = "softmax"` or `head = { name = "logistic_mixture", components = 10 }`.
    """

    kind = "head"

    def build(self, image: ImageSpec) -> Head:
        """Builds the head for images with the shape and levels of `image`.

        Raises `UserError` if the head does not support them.
        """
        head: Head = super().build(image)
        return head


def is_choice(kind: Any) -> bool:
    """Whether a type is the class of a choice of a component."""
    return hasattr(kind, "from_recipe")


def read_choice(value: Any, path: str, kind: str) -> ComponentChoice:
    """Reads the choice of a component, which a recipe writes as `"name"` or `{ name = "…", … }`.

    `kind` and `path` are used in error messages. Raises `UserError` if the value has another form.
    """
    try:
        return read_component(value, kind)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None


def resolved(
    choice: ComponentChoice, kind: str, path: str, registry: Registry, component: Component | None = None
) -> ComponentChoice:
    """Returns a choice with its component, which is looked up in the registry if it is not given, and all options.

    Raises `UserError`, with the key `path`, if there is no such component, or if its options are invalid.
    """
    component = component or registry.get(kind, choice.name, path)
    config: Any = structure_options(choice.options, component.config, path, registry)
    return ComponentChoice(choice.name, unstructure(config), component, config)


def structure_options(table: Any, config: type[T], path: str, registry: Registry) -> T:
    """Creates an instance of a component's config class from the component's options in a recipe.

    Raises `UserError` with the paths of invalid keys.
    """
    if isinstance(table, Mapping):
        table = dict(table)
        for field in attrs.fields(attrs.resolve_types(config)):  # type: ignore[type-var, arg-type]
            if not is_choice(field.type):
                continue
            value = table.get(field.name)
            is_incomplete = value is None or (isinstance(value, Mapping) and "name" not in value)
            if is_incomplete and (default := default_of(field)) is not attrs.NOTHING:
                # Defaults are looked up in the registry too, because it decides which component a name refers to.
                usual = default.to_recipe()
                named = component_table(usual) if isinstance(usual, str) else usual
                table[field.name] = usual if value is None else {"name": named["name"], **value}
            if field.name in table:
                table[field.name] = field.type.from_recipe(table[field.name], registry, f"{path}.{field.name}")
    return structure(table, config, path)
