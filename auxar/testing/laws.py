"""What a broken law looks like, and the search for the smallest example of one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor

from auxar.errors import UserError

try:
    from hypothesis import HealthCheck, Phase, errors, given, settings
    from hypothesis.strategies import SearchStrategy
except ImportError as missing:
    raise ImportError("auxar.testing needs hypothesis: pip install 'auxar[test]'") from missing


Size = TypeVar("Size")


class ContractError(AssertionError):
    """A component breaks a law of its interface. The message begins with the law's name."""

    def __init__(self, law: str, message: str) -> None:
        super().__init__(f"{law}: {message}")
        self.law = law


def broken(law: str, message: str, **example: object) -> NoReturn:
    """Raises `ContractError` with the parts of the example, one in a line."""
    raise ContractError(law, "\n  ".join([message, *(f"{name} = {shown(value)}" for name, value in example.items())]))


@contextlib.contextmanager
def runs(what: str, **example: object) -> Iterator[None]:
    """Law `runs`: whatever a component raises at valid input breaks it."""
    try:
        yield
    except (ContractError, errors.HypothesisException):
        raise
    except Exception as error:  # A stranger's code may fail in any way.
        parts = [
            f"{what} failed with {type(error).__name__}: {error}",
            *(f"{k} = {shown(v)}" for k, v in example.items()),
        ]
        raise ContractError("runs", "\n  ".join(parts)) from error


def search(test: Callable[..., None], examples: int, **strategies: SearchStrategy[Any]) -> None:
    """Calls `test` with values of the strategies; raises what the smallest values that it fails with raise."""
    run = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )(given(**strategies)(test))
    try:
        run()
    except errors.Flaky as error:
        raise ContractError("determinism", "the same input was treated in different ways") from error


def fitting(build: Callable[[Size], Any], sizes: Iterable[Size], chosen: bool, keyword: str) -> list[Size]:
    """Those of the sizes that `build` takes. It refuses the others by `UserError`, unless they were `chosen`.

    Raises `ContractError` for other errors, and if none is left; `keyword` is what sizes are passed to a check by.
    """
    found = []
    for size in sizes:
        words = " and ".join(map(str, size)) if isinstance(size, tuple) else str(size)
        try:
            build(size)
        except ContractError:
            raise
        except UserError as error:
            if chosen:
                raise ContractError("build", f"{words} is refused: {error}") from error
        except Exception as error:  # A stranger's code may fail in any way.
            reason = f"what does not fit is refused by UserError, and {words} raised {type(error).__name__}"
            raise ContractError("build", f"{reason}: {error}") from error
        else:
            found.append(size)
    if not found:
        raise ContractError("build", f"none of the sizes tried is accepted; pass one that is: {keyword}=[…]")
    return found


def described(value: object) -> str:
    """What was returned where a tensor is expected."""
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"


def shown(value: object) -> str:
    """A value in an error's message; of large tensors, where they are not zero."""
    if not isinstance(value, Tensor):
        return str(value)
    if value.numel() <= 32:
        return f"{value.tolist()} ({value.dtype})"
    places = value.nonzero()
    few = ", ".join(f"{tuple(place.tolist())}: {value[tuple(place)].item()}" for place in places[:8])
    more = f" and {len(places) - 8} more" if len(places) > 8 else ""
    return f"zeros of shape {tuple(value.shape)} ({value.dtype}) but for {few or 'nothing'}{more}"


def devices() -> list[torch.device]:
    """Those of this machine that compute in float64, the CPU first."""
    names = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return [torch.device(name) for name in names]
