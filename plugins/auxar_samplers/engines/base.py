"""The interface of engines, and how they call a source back."""

from __future__ import annotations

import abc
from collections.abc import Callable

import torch

from auxar import PixelSource
from auxar_samplers.asking import ask
from auxar_samplers.compiler.program import Program


class UnavailableError(Exception):
    """The engine cannot run this program here; the message says why."""


class Engine(abc.ABC):
    """Runs programs. A plugin registers one as a component of kind `engine`: `build(config) -> Engine`."""

    priority: int
    """Where a recipe says `engine = "auto"`, engines are tried from the highest priority down."""

    @abc.abstractmethod
    def prepare(self, program: Program, source: PixelSource) -> Callable[[], None]:
        """A function that runs all steps of the program and leaves the drawn pixels in `program.image`.

        It runs the steps of each range that `program.bands()` gives, one after the other: going on to the next range
        fills the tables that its steps read. After a step that draws, `call_back` asks any source for the pixels and
        stores them. Weights may require gradients, which no engine computes. Raises `UnavailableError` for a program
        or a source that the engine cannot run.
        """


def call_back(program: Program, source: PixelSource, step: int) -> None:
    """Asks the source for the pixels of a step, at places inside of the image alone, and stores them."""
    row = program.places[program.draws[step]]
    inside = torch.from_numpy((row < len(program.image) - 1).nonzero()[0])
    if not len(inside):
        return
    device = program.image.device
    places = torch.from_numpy(row)[inside].to(device)
    batch = program.layout.batch
    slots = inside.to(device)
    # A copy: what a source keeps must not change with the next step.
    parameters = program.output.values.view(len(row), batch, -1)[slots].flatten(0, 1)
    drawn = ask(source, places, parameters, program.image.shape[2])
    program.image[places] = drawn
    program.pixels.values.view(len(row), batch, -1)[slots] = program.encode(drawn).view(len(slots), batch, -1)
