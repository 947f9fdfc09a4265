"""The parser of the command line, made from the signatures and docstrings of the functions that are commands.

The docstring of a command has a summary, further paragraphs, and a section `Args:` with an entry for each parameter:

    Args:
        paths (PATH): image files, or folders of image files
        top (-n N): number of labels to show for each image
        out (-o, --out FILE): also write the table as CSV

The text in parentheses is the usage on the command line: the name of an argument, or the names of an option and of its
value. It may be left out. If it names no option, a parameter is an option if it can only be given by keyword or is a
flag, and otherwise an argument. `NAME,…` stands for names that commas separate. An option of the type `Any` may be
repeated: the function gets the text, or a list of several texts. Parameters of `COMMON` need no entry. Sections after
`Args:` are for Python only.
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from auxar.errors import did_you_mean, one_line, shown

COMMON = {
    "recipe": (
        "RECIPE",
        "a TOML file, or the name of a recipe that comes with auxar, such as quickstart (`auxar recipes` lists them)",
    ),
    "run": (
        "RUN",
        "a run's folder, the name of a model that comes trained (`auxar models` lists them), or a model on the Hugging "
        "Face hub: user/name or user/name@revision",
    ),
    "settings": ("--set KEY=VALUE", "override keys of the recipe, such as training.steps=100"),
    "trust_plugins": (
        "",
        "load the plugin files that the recipe names; they are code that runs with your rights, so read them first",
    ),
}
"""Usage and description of parameters that several commands have."""
ENTRY = re.compile(r"^ {4}(\w+)(?: \(([^)]*)\))?: (.*(?:\n {8}.*)*)", re.MULTILINE)
PARTS = re.compile(r"^(?:Args|Returns|Raises|Examples):$", re.MULTILINE)
SECTIONS = ("Train", "Draw", "Measure", "Share and store", "Recipes and plugins")
"""Headings of `auxar --help`, in their order. Other headings follow."""
WIDTH = 80
"""Width of the list of commands in characters."""


class Documented(NamedTuple):
    """The docstring of a command."""

    summary: str
    """The first sentence, without its period."""
    description: str
    """The paragraphs before the section `Args:`."""
    entries: dict[str, tuple[str, str]]
    """Usage and description of each parameter."""


def documented(function: Callable[..., Any]) -> Documented:
    """Reads the docstring of a command.

    Examples:
        >>> from auxar.commands.schema import schema
        >>> documented(schema).summary
        'Prints the JSON Schema of recipes, for editors'
    """
    text = inspect.getdoc(function) or ""
    description, *rest = PARTS.split(text)
    names = PARTS.findall(text)
    entries = {}
    if names and names[0] == "Args:":
        for name, usage, told in ENTRY.findall(rest[0]):
            common = COMMON.get(name, ("", ""))[0]
            entries[name] = (usage or common, " ".join(told.split()))
    description = description.strip()
    return Documented(description.partition("\n\n")[0].replace("\n", " ").rstrip("."), description, entries)


def integer(text: str) -> int:
    """Converts the text of an option to an integer. Raises `ArgumentTypeError` if it is none, or has too many digits.

    Python does not convert thousands of digits. Shorter integers are converted, and their range is checked later.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer from -2^63 to 2^63 - 1, got {shown(text)}") from None


def add_arguments(parser: argparse.ArgumentParser, function: Callable[..., Any]) -> None:
    """Adds the parameters of a command to its parser, as arguments and options."""
    entries = documented(function).entries
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in entries and parameter.name not in COMMON:
            raise TypeError(f"{function.__module__}.{function.__name__}: Args: has no entry '{parameter.name}'")
        usage, told = entries.get(parameter.name) or COMMON[parameter.name]
        _add(parser, parameter, usage, told)


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter, usage: str, told: str) -> None:
    """Adds a parameter, whose annotation is a string."""
    kind, several, convert = _type(str(parameter.annotation))
    required = parameter.default is inspect.Parameter.empty
    names = re.findall(r"(?<!\S)--?[a-z][\w-]*", usage)
    metavar = re.sub(r"(?<!\S)--?[a-z][\w-]*,?", "", usage).strip()
    options: dict[str, Any] = {"help": _help(told, parameter.default)}
    if kind != "flag":
        options |= {"type": convert, "metavar": metavar or kind}
    if names or parameter.kind is inspect.Parameter.KEYWORD_ONLY or kind == "flag":
        own = f"--{parameter.name.replace('_', '-')}"
        names = names if any(name.startswith("--") for name in names) else [*names, own]
        options |= {"dest": parameter.name, "required": required, "default": None if required else parameter.default}
        if kind == "flag":
            options["action"] = "store_true"
        elif parameter.annotation == "Any":
            options["action"] = "append"
        elif ",…" in usage:
            options |= {"type": _names, "default": []}
        elif several:
            unset = required or parameter.default is None
            options |= {"nargs": "+", "action": "extend", "default": None if unset else []}
        parser.add_argument(*names, **options)
    else:
        nargs = ("+" if required else "*") if several else (None if required else "?")
        # argparse names a positional argument by its destination.
        action = parser.add_argument(
            parameter.name, nargs=nargs, **options, **({} if required else {"default": parameter.default})
        )
        action.metavar = options["metavar"] if metavar else parameter.name.upper()


def _type(annotation: str) -> tuple[str, bool, Callable[[str], Any] | None]:
    """The usual name of a value, whether there are several values, and the conversion of a text to a value."""
    inner = re.fullmatch(r"(?:Sequence|Iterable|list|tuple)\[(.*?)(?:, \.\.\.)?\](?: \| None)?", annotation)
    if inner:
        kind, _, convert = _type(inner[1])
        return kind, True, convert
    parts = {part.strip() for part in re.split(r"\|", annotation)} - {"None"}
    if "bool" in parts:
        return "flag", False, None
    if "int" in parts:
        return "N", False, integer
    if "float" in parts:
        return "X", False, float
    if any("Path" in part for part in parts):
        return "PATH", False, Path
    return "NAME", False, str


def _names(text: str) -> list[str]:
    """The names in a text, which commas separate."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _help(told: str, default: Any) -> str:
    """A description with its default, in which argparse sees no format."""
    plain = default is inspect.Parameter.empty or default is None or default is False or default in ("", ())
    if not plain and "default" not in told:
        told = f"{told} (default: {default})"
    return told.replace("%", "%%")


class Parser(argparse.ArgumentParser):
    """A parser whose messages are short and name the nearest choice, and whose help keeps paragraphs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, **options)

    def error(self, message: str) -> NoReturn:
        """Prints a message on one line, and ends the command."""
        super().error(one_line(message))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            near = did_you_mean(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"there is no {shown(value)}{near}")


class _Formatter(argparse.HelpFormatter):
    def _format_action(self, action: argparse.Action) -> str:
        # Commands are listed by section, at the end.
        return "" if isinstance(action, argparse._SubParsersAction) else super()._format_action(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Fills each paragraph, and keeps lists, whose lines are indented."""
        fill = super()._fill_text
        return "\n\n".join(part if "\n  " in part else fill(part, width, indent) for part in text.split("\n\n"))


def arguments_of(function: Callable[..., Any], options: argparse.Namespace) -> dict[str, Any]:
    """The arguments with which the parsed options call a command."""
    found = {}
    for parameter in inspect.signature(function).parameters.values():
        value = getattr(options, parameter.name)
        if parameter.annotation == "Any" and isinstance(value, list) and len(value) == 1:
            (value,) = value
        found[parameter.name] = value
    return found


def overview(listed: dict[str, Callable[..., Any]]) -> Iterator[str]:
    """The lines of a list of commands by section, each with its summary."""
    sections: dict[str, list[str]] = {}
    for name, function in listed.items():
        section, _ = function.__auxar__  # type: ignore[attr-defined]
        first, *more = textwrap.wrap(documented(function).summary, WIDTH - 16)
        sections.setdefault(section, []).extend([f"  {name:<14}{first}", *(" " * 16 + line for line in more)])
    for section in sorted(sections, key=lambda each: SECTIONS.index(each) if each in SECTIONS else len(SECTIONS)):
        lines = sections[section]
        yield from ("", f"{section}:", *lines)
