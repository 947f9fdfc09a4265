"""The error for a broken law, and the search for the smallest example that breaks a law."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import torch
from hypothesis import HealthCheck, Phase, errors, given, settings
from hypothesis.strategies import SearchStrategy
from torch import Tensor, nn

from auxar.errors import UserError
from auxar.numerics.threads import threads
from auxar.plugins import NO_PATHS
from auxar.structuring import path_field

PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
"""The phases of a search. Without the last one, the example that is found is not replaced by a smaller one."""

Size = TypeVar("Size")


class ContractError(AssertionError):
    """The error for a component that breaks a law of its interface. The message begins with the law's name."""

    def __init__(self, law: str, message: str) -> None:
        super().__init__(f"{law}: {message}")
        self.law = law


def broken(law: str, message: str, **example: object) -> NoReturn:
    """Raises `ContractError` with the message and the parts of the example, each on its own line."""
    raise ContractError(law, "\n  ".join([message, *(f"{name} = {shown(value)}" for name, value in example.items())]))


@contextlib.contextmanager
def runs(what: str, *, law: str = "runs") -> Iterator[None]:
    """Checks the law `runs`: any exception in the block becomes a `ContractError`, since valid input must not raise."""
    try:
        yield
    except (ContractError, errors.HypothesisException):
        raise
    except Exception as error:  # A plugin's code may raise any exception.
        broken(law, f"{what} failed with {type(error).__name__}: {error}")


@contextlib.contextmanager
def refusals(law: str, what: str = "") -> Iterator[None]:
    """A context in which a `UserError` breaks a law. Its message follows the words `what`."""
    try:
        yield
    except UserError as error:
        raise ContractError(law, f"{what}{error}") from error


@contextlib.contextmanager
def about(what: str, **example: object) -> Iterator[None]:
    """Checks the law `runs`, and adds parts of the example to the message of any `ContractError` in the block."""
    try:
        with runs(what):
            yield
    except ContractError as error:
        error.args = ("\n  ".join([*error.args, *(f"{name} = {shown(value)}" for name, value in example.items())]),)
        raise


@contextlib.contextmanager
def keeps_state(what: str, random: bool = False) -> Iterator[None]:
    """Checks the law `state`: the calls in the block do not change the state that all code shares.

    These are torch's gradient mode, default dtype and, unless `random`, random numbers.
    """
    gradients, dtype, noise = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_rng_state()
    # Random numbers are drawn before the block, so that seeding them in it always changes their state.
    torch.rand(1)
    drawn = torch.get_rng_state()
    try:
        yield
    finally:
        found = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_rng_state()
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(dtype)
        torch.set_rng_state(noise)
    if found[0] != gradients:
        broken("state", f"{what} turns gradients {'on' if found[0] else 'off'} for all other code")
    if found[1] != dtype:
        broken("state", f"{what} changes the default dtype of torch to {found[1]}")
    if not random and not torch.equal(found[2], drawn):
        message = f"{what} draws from or seeds the random numbers of torch, which all code shares"
        broken("state", f"{message}; in evaluation mode, dropout must be off")


@contextlib.contextmanager
def calling(what: str, *inputs: Tensor | None, module: nn.Module | None = None, random: bool = False) -> Iterator[None]:
    """Checks the laws that all calls of a component have in common: `runs`, `inputs`, `state` and `mode`.

    The calls in the block raise no exception; errors show the first of the inputs. They change neither the tensors
    `inputs`, nor the mode of any part of `module`, nor the state that all code shares. If `random`, they may draw
    random numbers.
    """
    parts = [] if module is None else list(module.modules())
    modes = [part.training for part in parts]
    before = [None if each is None else each.detach().clone() for each in inputs]
    with keeps_state(what, random), about(what, **dict(zip(["input"], inputs, strict=False))):
        yield
    for each, copy in zip(inputs, before, strict=True):
        if each is not None and copy is not None and not torch.equal(each, copy):
            broken("inputs", f"{what} changes one of its inputs", before=copy, after=each)
    if [part.training for part in parts] != modes:
        broken("mode", f"{what} must not change the mode (training or evaluation) of any part of the model")


def check_tensor(
    what: str,
    found: object,
    shape: Sequence[int],
    dtype: torch.dtype | None = None,
    *,
    law: str = "shape",
    **example: object,
) -> None:
    """Checks that a value is a tensor of a shape and a dtype. None stands for any floating point dtype.

    The law is `shape`, or `dtype` if the value has the shape but not the given dtype, unless another law is given.
    """
    if isinstance(found, Tensor) and tuple(found.shape) == tuple(shape):
        if found.dtype == dtype or (dtype is None and found.is_floating_point()):
            return
        law = "dtype" if dtype is not None and law == "shape" else law
    expected = f"{dtype or 'floating point'} of shape {tuple(shape)}"
    broken(law, f"{what} must be {expected}, got {described(found)}", **example)


def check_equal(law: str, message: str, found: Tensor, expected: Tensor, error: float = 0.0, **example: object) -> None:
    """Checks that two tensors of the same shape are equal, up to `error` relatively and absolutely.

    The message shows the first pair of values that differ, and the parts of the example.
    """
    wide = found.detach().to(expected.dtype)
    if wide.shape == expected.shape and torch.allclose(wide, expected, rtol=error, atol=error):
        return
    if wide.shape == expected.shape:
        at = tuple((~torch.isclose(wide, expected, rtol=error, atol=error)).nonzero()[0].tolist())
        example = {"at": at, "found": wide[at].item(), "expected": expected[at].item(), **example}
    broken(law, message, **example)


def check_range(what: str, found: Tensor, levels: int, **example: object) -> None:
    """Checks the law `range` of integers (b, …): they lie in [0, levels)."""
    values = found.to(torch.int64)  # Levels may exceed the range of a short dtype.
    outside = ((values < 0) | (values >= levels)).flatten(1).any(1)
    if outside.any():
        broken("range", f"{what} has a value outside [0, {levels})", found=found[outside][0], **example)


def check_built(found: Any, kind: type, what: str = "build must return", **attributes: object) -> None:
    """Checks the law `spec`: `build` returns an object of the class `kind` with these attributes."""
    if not isinstance(found, kind):
        broken("spec", f"{what} an auxar.{kind.__name__}, got {described(found)}")
    for name, expected in attributes.items():
        if (got := getattr(found, name, None)) != expected:
            broken("spec", f"the {kind.__name__}'s `{name}` must be {expected}, as passed to build, got {got}")


def check_options(config: object) -> None:
    """Checks the law `options`: no option of the class of `config` is or contains a path."""
    if option := path_field(type(config)):
        broken("options", f"the option '{option}' of {type(config).__name__} {NO_PATHS}")


def check_count(found: Any, name: str, least: int) -> None:
    """Checks the law `spec` of an attribute that is an integer ≥ `least`."""
    count = getattr(found, name, None)
    if not isinstance(count, int) or count < least:
        broken("spec", f"`{name}` must be an integer ≥ {least}, got {count!r}")


@threads(1)  # Tensors are small: several threads would only wait for each other.
def search(test: Callable[..., None], examples: int, **strategies: SearchStrategy[Any]) -> None:
    """Calls `test` with values from the strategies, in one thread.

    If a call fails, searches for smaller values that fail too, and raises the exception of the smallest example.
    """
    run = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )(given(**strategies)(test))
    try:
        run()
    except errors.Flaky as error:
        raise ContractError("determinism", "the same input passed the check once and failed it another time") from error


def fitting(
    build: Callable[[Size], Any],
    chosen: Iterable[Size] | None,
    usual: Iterable[Size],
    keyword: str,
    needed: bool = True,
) -> list[Size]:
    """The specs, or pairs of specs, that `build` accepts: of those that are chosen or, by default, of the usual ones.

    The caller of the check has chosen specs with the argument named `keyword`, and `build` must accept all of them. It
    may refuse some of the usual ones with `UserError`, and all if none is `needed`. Raises `ContractError` if `build`
    refuses a chosen spec, raises any other exception, or accepts none that is needed.
    """
    found = []
    for size in chosen or usual:
        words = " and ".join(map(str, size)) if isinstance(size, tuple) else str(size)
        try:
            build(size)
        except ContractError:
            raise
        except UserError as error:
            if chosen is not None:
                message = f"build must accept every spec in the argument `{keyword}`, but refuses {words}: {error}"
                raise ContractError("build", message) from error
        except Exception as error:  # A plugin's code may raise any exception.
            reason = f"for specs that it does not support, build must raise UserError; for {words} it raised "
            reason += type(error).__name__
            raise ContractError("build", f"{reason}: {error}") from error
        else:
            found.append(size)
    if needed and not found:
        message = f"build accepts none of the default {keyword}; pass supported ones with {keyword}=[…]"
        raise ContractError("build", message)
    return found


def accepts(call: Callable[[], object]) -> bool:
    """Whether a call works. If it raises `UserError`, it refuses its arguments."""
    try:
        call()
    except UserError:
        return False
    return True


def described(value: object) -> str:
    """A description of a returned value for messages: dtype and shape of a tensor, the `repr` of anything else."""
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"


def shown(value: object) -> str:
    """A value as text for an error message. A tensor of over 32 elements is shown by its first nonzero elements."""
    if not isinstance(value, Tensor):
        return str(value)
    if value.numel() <= 32:
        return f"{value.tolist()} ({value.dtype})"
    places = value.nonzero()
    few = ", ".join(f"{tuple(place.tolist())}: {value[tuple(place)].item()}" for place in places[:8])
    more = f" and {len(places) - 8} more" if len(places) > 8 else ""
    return f"shape {tuple(value.shape)} ({value.dtype}), nonzero elements: {few or 'none'}{more}"
