"""Commands: functions that are also commands of `auxar`.

A package registers a command as an entry point of the group `auxar.commands`, such as `score = "my_package:score"`. The
command `auxar score` and the function `auxar.score` are then this function. Its signature and docstring give the
arguments, options and help of the command (`auxar.commandline.parser`). A module of commands imports PyTorch, NumPy and
other slow modules inside of its functions, so that help and completion are fast.
"""

import textwrap
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, NamedTuple, TypeVar

from auxar.errors import UserError

GROUP = "auxar.commands"
"""The group of entry points of commands."""
FUNCTIONS = "auxar.functions"
"""The group of entry points of functions that are names of `auxar`, too, but no commands."""
F = TypeVar("F", bound=Callable[..., Any])


class Result(NamedTuple):
    """The result of a command, as it is printed."""

    lines: Sequence[str]
    """The result as lines of text."""
    record: Any = None
    """The result as plain values, which `--json` prints."""
    mistake: UserError | None = None
    """A mistake that is reported after the result is printed."""


WIDTH = 100
"""Width of lists in characters."""


def paragraph(label: str, text: str, width: int) -> list[str]:
    """Wraps an indented paragraph of a list. Its label has `width` characters, and later lines begin below the text."""
    first = f"    {label:<{width}}" if label else "    "
    wrapper = textwrap.TextWrapper(WIDTH, first, " " * len(first), break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(text)


def command(section: str, show: Callable[[Any], Result]) -> Callable[[F], F]:
    """Decorator of a function that is a command.

    `section` is the heading under which `auxar --help` lists the command, and `show` converts what the function returns
    to a `Result`, which is printed.

    Examples:
        >>> import auxar
        >>> def score() -> str:
        ...     return "0.5 bits/dim"
        >>> found = auxar.command("Measure", show=lambda found: auxar.Result([found]))(score)
        >>> found is score, found()
        (True, '0.5 bits/dim')
    """

    def marked(function: F) -> F:
        function.__auxar__ = (section, show)  # type: ignore[attr-defined]
        return function

    return marked


def commands(group: str = GROUP) -> dict[str, metadata.EntryPoint]:
    """The entry points of the registered commands by name, or those of another group, in the order of their names.

    If several packages have a command of the same name, it is auxar's own, or that of the last package.
    """
    # The last entry of a name counts.
    found = sorted(metadata.entry_points(group=group), key=lambda each: (each.value.startswith("auxar."), each.value))
    return dict(sorted({each.name: each for each in found}.items()))
