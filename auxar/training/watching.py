"""Calls functions of the user after every training step."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import attrs


@attrs.frozen
class TrainingStep:
    """A finished training step of a factor."""

    factor: str
    """Name of the factor: `stage0` …, `prior` or `condition`."""
    step: int
    """Number of the step, from 1."""
    total_steps: int
    """Number of steps of the whole training of the factor."""
    bits_per_dim: float
    """Loss of the batch in bits/dim of the factor's own image."""
    gradient_norm: float
    """Norm of the gradient before clipping. If it or the loss is not finite, the step did not change the weights."""
    learning_rate: float
    """Learning rate of the step."""


_callbacks: ContextVar[tuple[Callable[[TrainingStep], object], ...]] = ContextVar("callbacks", default=())


@contextlib.contextmanager
def on_step(callback: Callable[[TrainingStep], object]) -> Iterator[None]:
    """A context in which a function is called after every training step, in the main process.

    The function gets a `TrainingStep`, and its result is ignored. An exception that it raises ends `auxar.run`; calling
    `auxar.run` again with the same arguments continues from the last checkpoint.

    Examples:
        >>> import auxar
        >>> losses = []
        >>> with auxar.on_step(lambda step: losses.append(step.bits_per_dim)):
        ...     run = auxar.run("quickstart", settings=["training.steps=3"], only=["prior"], out="runs/watched")
        >>> len(losses)
        3
    """
    token = _callbacks.set((*_callbacks.get(), callback))
    try:
        yield
    finally:
        _callbacks.reset(token)


def tell(step: TrainingStep) -> None:
    """Calls the functions of all contexts of `on_step`."""
    for callback in _callbacks.get():
        callback(step)
