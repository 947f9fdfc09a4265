"""The one place that chooses an engine for a program."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import attrs

from auxar import Component, PixelSource, Registry, UserError
from auxar.errors import did_you_mean
from auxar.recipe.choices import named_options
from auxar.recipe.structuring import structure
from auxar_samplers.compiler.program import Program
from auxar_samplers.engines.base import Engine, UnavailableError
from auxar_samplers.engines.native.engine import NativeConfig, NativeEngine
from auxar_samplers.engines.torch import TorchConfig, TorchEngine

logger = logging.getLogger("auxar")

AUTO = "auto"
SHIPPED = {
    component.name: component
    for component in (
        Component("engine", "native", NativeConfig, lambda config: NativeEngine()),
        Component("engine", "torch", TorchConfig, lambda config: TorchEngine()),
    )
}
"""The engines that come with auxar; samplers that are made in Python choose among them."""
FORMER_NAMES = {"plain": "torch"}
"""Names that recipes of earlier versions have."""


def _shipped() -> tuple[Engine, ...]:
    return _in_order(SHIPPED.values())


def _in_order(components: Iterable[Component]) -> tuple[Engine, ...]:
    """Engines with their default options, from the highest priority down."""
    engines: list[Engine] = [component.build(component.config()) for component in components]
    return tuple(sorted(engines, key=lambda engine: -engine.priority))


def _needs_options(component: Component) -> bool:
    """Whether an engine has options without a default."""
    return any(field.init and field.default is attrs.NOTHING for field in attrs.fields(component.config))


@attrs.frozen
class EngineChoice:
    """The engines that may run a program, in the order in which they are tried.

    `auto` tries every registered engine that needs no options, from the highest priority down; a name stands for that
    engine alone. In a recipe it is written `engine = "native"` or, with options, `engine = { name = "…", … }`.
    """

    name: str = AUTO
    engines: tuple[Engine, ...] = attrs.field(factory=_shipped, eq=False, repr=False)
    options: dict[str, Any] = attrs.field(factory=dict)

    @classmethod
    def shipped(cls, name: str) -> EngineChoice:
        """The choice of an engine that comes with auxar, or `auto` among these. Raises `ValueError` for others."""
        if name == AUTO:
            return cls()
        if name not in SHIPPED:
            raise ValueError(f"engine must be one of {', '.join((AUTO, *SHIPPED))}, got {name!r}")
        return cls(name, _in_order([SHIPPED[name]]))

    @classmethod
    def from_recipe(cls, value: Any, registry: Registry, path: str) -> EngineChoice:
        """The choice that a recipe's `engine` makes. Raises `UserError` with the path of the key that is wrong."""
        name, options = named_options(value, path, "engine")
        name = FORMER_NAMES.get(name, name)
        known = registry.names("engine")
        for reserved in (AUTO, *FORMER_NAMES):
            if reserved in known:
                provider = registry.providers["engine", reserved]
                raise UserError(f"plugin {provider}: an engine cannot be named '{reserved}', which is taken")
        if name not in (AUTO, *known):
            raise UserError(f"{path}: no engine is named '{name}'{did_you_mean(name, (AUTO, *known))}")
        if name == AUTO:
            if options:
                raise UserError(f"{path}: options belong to an engine, and 'auto' is none; name one of {known}")
            components = [registry.get("engine", each, path) for each in known]
            return cls(AUTO, _in_order(each for each in components if not _needs_options(each)))
        component = registry.get("engine", name, path)
        return cls(name, (component.build(structure(options, component.config, path)),), options)

    def to_recipe(self) -> Any:
        """The value that `from_recipe` reads back to this choice."""
        return {"name": self.name, **self.options} if self.options else self.name

    def run(self, program: Program, source: PixelSource) -> None:
        """Runs the program by the first engine that can, so that the choice is the same every time.

        Raises `UserError` if none can, which happens only where an engine is asked for by name.
        """
        reason: UnavailableError | None = None
        for engine in self.engines:
            try:
                run = engine.prepare(program, source)
            except UnavailableError as error:
                logger.debug("not sampling with %s: %s", type(engine).__name__, error)
                reason = error
                continue
            logger.debug("sampling with %s", type(engine).__name__)
            run()
            return
        raise UserError(f"engine '{self.name}': {reason}; engine 'torch' works everywhere")
