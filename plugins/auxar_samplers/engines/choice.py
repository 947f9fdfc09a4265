"""How a program is run: by a library that is compiled once on this machine, or by PyTorch's operations."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import attrs

from auxar.errors import UserError
from auxar_samplers.compiler.program import Clock, Instruction, Layout
from auxar_samplers.engines.native import NativeEngine, UnavailableError
from auxar_samplers.engines.torch import PlainEngine

logger = logging.getLogger("auxar")

ENGINES = ("auto", "native", "plain")


class Engine(Protocol):
    """Runs lists of instructions."""

    def run(self, number: int, positions: Sequence[int]) -> None:
        """Runs one list, every clock at its position."""


def check_engine(value: str) -> None:
    """Raises `ValueError` for the name of no engine."""
    if value not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {value!r}")


def engine_field() -> Any:
    """The key `engine` of a sampler's options."""
    return attrs.field(default="auto", validator=lambda instance, attribute, value: check_engine(value))


def make_engine(choice: str, layout: Layout, clocks: Sequence[Clock], lists: Sequence[Sequence[Instruction]]) -> Engine:
    """The engine by name; `auto` is the native one wherever it works, so that the choice is the same every time.

    Raises `UserError` if the native one is asked for by name and does not work here.
    """
    if choice != "plain":
        try:
            return NativeEngine(layout, clocks, lists)
        except UnavailableError as error:
            if choice == "native":
                raise UserError(f"engine 'native': {error}; engine 'plain' works everywhere") from None
            logger.debug("sampling with PyTorch's operations: %s", error)
    return PlainEngine(layout, clocks, lists)
