"""Compilation of a factor's networks for its training steps, as `training.compile` asks for.

PyTorch's compiler fuses everything that a network computes between its convolutions, such as activations, dropout, the
normalization of weights and conversions to bfloat16. Evaluation and sampling do not use the compiled code.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from auxar.errors import UserError, logger, one_line
from auxar.model import CausalNetwork, Embedding, Factor
from auxar.recipe import TrainingConfig

LONG_TRAINING = 2e14
"""Multiply-adds of a training from which on compiling saves more time than it takes, which is about a minute."""


def pays_to_compile(factor: Factor, config: TrainingConfig, steps: int, device: str) -> bool:
    """Whether a training of `steps` steps is compiled if the recipe does not set `training.compile`.

    It is compiled on a CPU if it needs at least about `LONG_TRAINING` multiply-adds, and if a network says that it can
    be (`compiles`). The number is estimated from the weights, each of which a convolution uses once for each pixel, in
    three passes. It depends neither on the speed of the machine nor on the steps that are already done, so that a
    repeated training has the same result.
    """
    weights = sum(parameter.numel() for parameter in factor.parameters())
    pixels = factor.image.height * factor.image.width
    long = 3.0 * weights * pixels * config.batch_size * steps >= LONG_TRAINING
    return long and device == "cpu" and not config.recompute and bool(compilable(factor))


def compilable(factor: Factor, *, required: bool = False) -> list[CausalNetwork | Embedding]:
    """Returns the networks of a factor that say that they can be compiled, or all of them if that is `required`."""
    networks = [part for part in factor.modules() if isinstance(part, CausalNetwork | Embedding)]
    if not (required or any(isinstance(network, CausalNetwork) and network.compiles for network in networks)):
        return []  # The embedding of a condition alone is not worth a minute.
    return [network for network in networks if required or network.compiles]


@contextlib.contextmanager
def compiled(factor: Factor, try_step: Callable[[], object], *, required: bool) -> Iterator[bool]:
    """A context in which the networks of a factor in training mode run as compiled code.

    `try_step` computes the gradient of one batch. It is called once, because networks are compiled when they run for
    the first time. The value of the context is whether the networks are compiled. If compiling fails, for example
    because there is no C++ compiler, they are not compiled, which is logged. If compiling is `required`, all networks
    are compiled, and `UserError` is raised if that fails.
    """
    parts = compilable(factor, required=required)
    if not parts:
        _report(factor, "has no auxar.CausalNetwork and no auxar.Embedding that can be compiled", required)
        yield False
        return
    logger.info("%s: compiling its networks for training, which takes about a minute", factor.name)
    for part in parts:
        part.forward = _in_training(part)  # type: ignore[method-assign]
    try:
        try:
            try_step()
        except (UserError, MemoryError):
            raise
        except Exception as error:  # The exceptions of PyTorch's compiler have no common base class.
            for part in parts:
                del part.forward
            parts = []
            reason = next(filter(str.strip, str(error).splitlines()), type(error).__name__)
            _report(factor, f"cannot be compiled ({one_line(reason, 300)})", required)
        finally:
            factor.zero_grad(set_to_none=True)
        yield bool(parts)
    finally:
        for part in parts:
            del part.forward
        # The compiler limits the number of compiled versions of a function. Other factors have the same functions.
        torch.compiler.reset()


def _in_training(part: CausalNetwork | Embedding) -> Callable[..., Any]:
    # The number of threads is then chosen when the code runs, not when it is compiled.
    options: dict[str, Any] = {"cpp.dynamic_threads": True}
    own, fast = part.forward, torch.compile(part.forward, dynamic=False, options=options)

    def forward(*inputs: Any, **named: Any) -> Any:
        return (fast if part.training and torch.is_grad_enabled() else own)(*inputs, **named)

    return forward


def _report(factor: Factor, problem: str, required: bool) -> None:
    if required:
        raise UserError(f"training.compile: the factor {factor.name} {problem}; leave the key out to train without it")
    logger.info("%s %s; it is trained without compiling", factor.name, problem)
