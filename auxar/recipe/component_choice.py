"""The choice of a component by a recipe."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from auxar.errors import UserError, naming
from auxar.plugin_files import FAILURES
from auxar.plugins import Component

T = TypeVar("T")


@attrs.frozen
class ComponentChoice:
    """The choice of a component: its name and its options.

    A choice that was read from the text of a recipe has only these two. When the recipe is loaded with its plugins, the
    component is looked up, the options are checked, and options that were not given get their defaults.
    """

    name: str
    options: Mapping[str, Any] = attrs.field(factory=dict)
    component: Component | None = attrs.field(default=None, eq=False, repr=False)
    """The component; None if it was not looked up in a registry."""
    config: Any = attrs.field(default=None, eq=False, repr=False)
    """The options as an instance of the component's config class; None if `component` is None."""

    @property
    def table(self) -> dict[str, Any]:
        """The choice as a table of a recipe: its name and its options."""
        return {"name": self.name, **self.options}

    @property
    def changed(self) -> dict[str, Any]:
        """The options whose values differ from the component's defaults."""
        assert self.component is not None
        usual = {field.name: default_of(field) for field in attrs.fields(self.component.config)}
        return {key: value for key, value in self.options.items() if getattr(self.config, key) != usual[key]}

    def build(self, *arguments: Any, **named: Any) -> Any:
        """Builds the component. Raises `UserError`, with the component's name, if it does not support the arguments."""
        if self.component is None:
            raise UserError(f"'{self.name}' was not looked up among the plugins; load the recipe with load_recipe")
        return built(self.component, self.config, *arguments, **named)

    def build_as(self, expected: type[T], *arguments: Any, **named: Any) -> T:
        """Builds the component. Raises `UserError` as `build` does, or if the result is no `expected`."""
        found = self.build(*arguments, **named)
        if not isinstance(found, expected):
            what = f"{self.component.kind if self.component else ''} '{self.name}'"
            raise UserError(f"{what}: its build must return a {expected.__name__}, got {type(found).__name__}")
        return found


def built(component: Component, config: Any, *arguments: Any, **named: Any) -> Any:
    """Builds a component with its options. Raises `UserError`, with its kind and name, if it raises one."""
    with naming(f"{component.kind} '{component.name}'"):
        return component.build(config, *arguments, **named)


def default_of(field: attrs.Attribute[Any]) -> Any:
    """The default of a field; `attrs.NOTHING` if it has none, or one that fails or depends on other fields."""
    default: Any = field.default
    if not isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default
    with contextlib.suppress(*FAILURES):
        return attrs.NOTHING if default.takes_self else default.factory()
    return attrs.NOTHING


def takes_steps(build: Callable[..., object]) -> bool:
    """Whether the `build` of an optimizer has a parameter `steps` without a default: the number of training steps."""
    parameters = inspect.signature(build).parameters
    return "steps" in parameters and parameters["steps"].default is inspect.Parameter.empty
