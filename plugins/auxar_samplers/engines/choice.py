"""Chooses the engine that runs a program."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, ClassVar

import attrs

from auxar import Choice, Component, PixelSource, Registry, UserError
from auxar_samplers.compiler.program import Program
from auxar_samplers.engines.base import BrokenError, Engine, UnavailableError, logger
from auxar_samplers.engines.native.engine import NativeConfig, NativeEngine
from auxar_samplers.engines.torch import TorchConfig, TorchEngine

AUTO = "auto"


@attrs.frozen
class AutoEngineConfig:
    """Tries every other engine without required options, from the highest priority to the lowest."""


class _NamedEngine(Choice):
    kind = "engine"


SHIPPED = {
    component.name: component
    for component in (
        Component("engine", "native", NativeConfig, lambda config: NativeEngine()),
        Component("engine", "torch", TorchConfig, lambda config: TorchEngine(record=config.record)),
    )
}
"""The engines that come with auxar, by name. Samplers that are built in Python with an engine's name use only these."""


def _in_order(components: Iterable[Component]) -> tuple[Engine, ...]:
    """Builds engines with their default options and sorts them from the highest priority to the lowest."""
    engines: list[Engine] = [component.build(component.config()) for component in components]
    return tuple(sorted(engines, key=lambda engine: -engine.priority))


def _needs_options(component: Component) -> bool:
    """Whether an engine has required options."""
    return any(field.init and field.default is attrs.NOTHING for field in attrs.fields(component.config))


@attrs.frozen
class EngineChoice:
    """The engines that may run a program, in the order in which they are tried.

    In a recipe, `auto` tries every registered engine without required options, from the highest priority to the lowest.
    In Python, it tries the shipped engines. An engine's name selects only that engine. A recipe contains the choice as
    `engine = "native"` or, with options, as `engine = { name = "…", … }`.
    """

    kind: ClassVar[str] = "engine"
    name: str = AUTO
    """The engine's name, or `auto`."""
    engines: tuple[Engine, ...] = attrs.field(factory=lambda: _in_order(SHIPPED.values()), eq=False, repr=False)
    """The engines in the order in which they are tried."""
    options: dict[str, Any] = attrs.field(factory=dict)
    """The options of the named engine."""

    @classmethod
    def shipped(cls, name: str) -> EngineChoice:
        """The choice of a shipped engine by name, or of all for `auto`. Raises `ValueError` for any other name."""
        if name == AUTO:
            return cls()
        if name not in SHIPPED:
            raise ValueError(f"engine must be one of {', '.join((AUTO, *SHIPPED))} or an EngineChoice, got {name!r}")
        return cls(name, _in_order([SHIPPED[name]]))

    @classmethod
    def from_recipe(cls, value: Any, registry: Registry, path: str) -> EngineChoice:
        """Parses the key `engine` of a recipe. Raises `UserError` with the path of the key that is wrong."""
        found = _NamedEngine.from_recipe(value, registry, path)
        if found.component.name == AUTO:
            others = (registry.get("engine", name, path) for name in registry.names("engine") if name != AUTO)
            return cls(AUTO, _in_order(each for each in others if not _needs_options(each)))
        options = {key: each for key, each in found.to_recipe().items() if key != "name"}
        return cls(found.component.name, (found.build(),), options)

    def to_recipe(self) -> Any:
        """The recipe's value of `engine` from which `from_recipe` makes this choice again."""
        return {"name": self.name, **self.options} if self.options else self.name

    def run(self, program: Program, source: PixelSource) -> None:
        """Runs the program with the first engine that supports it. Warns once if it replaces an engine that is broken.

        Raises `UserError` if no engine supports it. This happens only if an engine was chosen by name, because `auto`
        includes the engine `torch`, which supports every program.
        """
        reasons: list[UnavailableError] = []
        for engine in self.engines:
            try:
                run = engine.prepare(program, source)
            except UnavailableError as error:
                logger.debug("%s cannot run this program: %s", type(engine).__name__, error)
                reasons.append(error)
                continue
            for reason in reasons:
                if isinstance(reason, BrokenError):
                    _warn_of_replacement(type(engine).__name__, str(reason))
            logger.debug("sampling with %s", type(engine).__name__)
            run()
            return
        raise UserError(f"engine '{self.name}': {reasons[-1]}; use engine 'torch', which works everywhere")


@functools.cache
def _warn_of_replacement(engine: str, reason: str) -> None:
    """Warns, once for each engine and each reason, that an engine is used in place of a broken one."""
    logger.warning("%s samples, more slowly, in place of an engine that does not work: %s", engine, reason)
