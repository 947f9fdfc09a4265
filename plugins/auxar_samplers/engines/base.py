"""The interface of engines, and the function with which they ask a pixel source for pixels."""

import abc
import logging
from collections.abc import Callable

import torch

from auxar import PixelSource
from auxar_samplers.asking import ask
from auxar_samplers.compiler.program import Program

logger = logging.getLogger("auxar")


class UnavailableError(Exception):
    """Raised by an engine that cannot run a program on this machine or device. The message gives the reason."""


class BrokenError(UnavailableError):
    """Raised by an engine that should work on this machine, but does not until the user repairs something.

    An engine that is used in its place, as `engine = "auto"` allows, is then named in a warning.
    """


class Engine(abc.ABC):
    """Runs programs. A plugin registers its engine as a component of kind `engine`: `build(config) -> Engine`."""

    priority: int
    """The priority of the engine: `engine = "auto"` tries engines from the highest priority to the lowest."""

    @abc.abstractmethod
    def prepare(self, program: Program, source: PixelSource) -> Callable[[], None]:
        """Returns a function that runs all steps of the program and stores the drawn pixels in `program.image`.

        The function must iterate over `program.bands()` and run the steps of each range before it asks for the next
        range. Advancing this iterator fills the tables that the steps of the next range read. After a step that draws,
        the engine can use `call_back`, which asks any source for the pixels and stores them. Weights may have
        `requires_grad` set; engines must not record gradients.

        Raises `UnavailableError` if the engine does not support the program or the source, and `BrokenError` if it runs
        no program until the user repairs something.
        """


def call_back(program: Program, source: PixelSource, step: int) -> None:
    """Asks the source for the pixels of a step and stores them in `program.image` and, encoded, in `program.pixels`.

    Slots outside the image are left out.
    """
    row = program.places[program.draws[step]]
    inside = torch.from_numpy((row < len(program.image) - 1).nonzero()[0])
    if not len(inside):
        return
    device = program.image.device
    places = torch.from_numpy(row)[inside].to(device)
    batch = program.layout.batch
    slots = inside.to(device)
    # Indexing makes a copy. A source may keep its parameters, and the next step must not change them.
    parameters = program.output.values.view(len(row), batch, -1)[slots].flatten(0, 1)
    drawn = ask(source, places, parameters, program.image.shape[2])
    program.image[places] = drawn
    program.pixels.values.view(len(row), batch, -1)[slots] = program.encode(drawn).view(len(slots), batch, -1)
