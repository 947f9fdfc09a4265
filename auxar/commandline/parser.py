"""The parser of the command line, made from the signatures and docstrings of the functions that are commands.

The docstring of a command has a summary, further paragraphs, and a section `Args:` with an entry for each parameter:

    Args:
        paths (PATH): image files, or folders of image files
        top (-n N): number of labels to show for each image
        out (-o, --out FILE): also write the table as CSV

The text in parentheses is the usage on the command line: the name of an argument, or the names of an option and of its
value. It may be left out. If it names no option, a parameter is an option if it can only be given by keyword or is a
flag, and otherwise an argument. `NAME,…` stands for names that commas separate, and `NAME …` for an argument that is
the rest of the line, whatever it looks like. An option of the type `Any` may be repeated: the function gets the text,
or a list of several texts. `Mapping[…] | Sequence[str]` is given as texts KEY=VALUE. Parameters of `COMMON` need no
entry. Sections after `Args:` are for Python only.
"""

import argparse
import difflib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
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
    "device": ("", "auto, cpu, cuda, cuda:1 or mps"),
    "resize": (
        "",
        "treatment of images of other sizes: none (an error), cover (cut off margins) or stretch (default: the "
        "recipe's)",
    ),
    "rule": ("--rule RULE", "rule by which values are drawn, NAME or NAME:OPTION=VALUE,…, as for `auxar sample`"),
    "seed": ("--seed S", "seed of the noise"),
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
VALUES: Mapping[str, tuple[str, Callable[[str], Any] | None]] = {
    "Any": ("TEXT", str),
    "bool": ("flag", None),
    "str": ("NAME", str),
    "Path": ("PATH", Path),
    "int": ("N", int),
    "float": ("X", float),
}
"""The usual name of a value and its conversion from a text, by the type. Of several types, the first one counts."""
WIDTH = 80
"""Width of the list of commands in characters."""
OUTPUT = "output"
"""Title of the group of the options that all commands share."""
LEVELS = ("debug", "info", "warning", "error")
"""The levels of messages, as Python's module `logging` names them."""


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
        >>> from auxar.commands.plugins import plugins
        >>> documented(plugins).summary
        'Lists every component that recipes can use'
    """
    text = inspect.getdoc(function) or ""
    description, *rest = PARTS.split(text)
    found = ENTRY.findall(rest[0]) if PARTS.findall(text)[:1] == ["Args:"] else []
    entries = {name: (usage, " ".join(told.split())) for name, usage, told in found}
    description = description.strip()
    summary, *_ = re.split(r"\.(?:\s|$)", description, maxsplit=1)
    return Documented(" ".join(summary.split()), description, entries)


def add_command(parser: argparse.ArgumentParser, function: Callable[..., Any]) -> None:
    """Adds the parameters of a command to its parser, as arguments and options, and the options of all commands.

    Raises `TypeError` if the function cannot be a command, because its docstring or its parameters do not fit.
    """
    entries = documented(function).entries
    for parameter in inspect.signature(function).parameters.values():
        common = COMMON.get(parameter.name, ("", ""))
        usage, told = entries.get(parameter.name, common)
        if not told:
            raise TypeError(f"the section Args: of the docstring needs an entry '{parameter.name}: …'")
        _add(parser, parameter, usage or common[0], told)
    parser.add_argument("--json", dest="_json", action="store_true", help="print the result as JSON instead of text")
    # Without a default here, an option before the command's name is kept.
    add_output(parser, default=False)
    named = [action for action in parser._actions if action.option_strings]
    flags = {action.dest: action.option_strings[-1] for action in named}
    flags |= {f"{action.dest}[]": action.option_strings[-1] for action in named if action.nargs == "+"}
    parser.set_defaults(_command=function, _flags=flags)


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter, usage: str, told: str) -> None:
    if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise TypeError(f"the parameter '{parameter.name}' cannot be given by keyword")
    kind, several, convert = _type(parameter)
    required = parameter.default is parameter.empty
    names = re.findall(r"(?<!\S)--?[A-Za-z][\w-]*", usage)
    metavar = re.sub(r"(?<!\S)--?[A-Za-z][\w-]*,?", "", usage).strip()
    default = parameter.default
    is_plain = required or default is None or default is False or default in ("", ())
    if not is_plain and "default" not in told:
        told = f"{told} (default: {default})"
    options: dict[str, Any] = {"help": told.replace("%", "%%")}  # For argparse, % begins a format.
    if kind != "flag":
        options |= {"type": convert, "metavar": metavar or kind}
    if names or parameter.kind is parameter.KEYWORD_ONLY or kind == "flag":
        own = f"--{parameter.name.replace('_', '-')}"
        names = names if any(name.startswith("--") for name in names) else [*names, own]
        options |= {"dest": parameter.name, "required": required}
        if kind == "flag":
            options["action"] = argparse.BooleanOptionalAction if parameter.default else "store_true"
            options["default"] = parameter.default
        elif kind == "TEXT":
            options["action"] = "append"
        elif ",…" in usage:
            options["type"] = _names
        elif several:
            options |= {"nargs": "+", "action": "extend"}
        parser.add_argument(*names, **options)
    else:
        # argparse names a positional argument by its destination.
        nargs = ("+" if required else "*") if several else (None if required else "?")
        nargs = argparse.PARSER if metavar.endswith(" …") else nargs
        action = parser.add_argument(parameter.name, nargs=nargs, **options)
        action.metavar = metavar.removesuffix(" …") or parameter.name.upper()


def _names(text: str) -> list[str]:
    """The names in a text, which commas separate. argparse reports that there is none."""
    if names := [name.strip() for name in text.split(",") if name.strip()]:
        return names
    raise argparse.ArgumentTypeError("expected names separated by commas")


def _type(parameter: inspect.Parameter) -> tuple[str, bool, Callable[[str], Any] | None]:
    """The usual name of a value, whether there are several values, and the conversion of a text to a value."""
    written = parameter.annotation
    text = written if isinstance(written, str) else inspect.formatannotation(written)
    text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)  # Without the names of modules.
    inner = re.fullmatch(r"(?:Sequence|Iterable|list|tuple)\[(.*?)(?:, \.\.\.)?\](?: \| None)?", text)
    parts = {part.strip() for part in (inner[1] if inner else text).split("|")} - {"None"}
    if "Sequence[str]" in parts and any(part.startswith("Mapping[") for part in parts):
        return "KEY=VALUE", True, str
    for name, (kind, convert) in VALUES.items():
        if name in parts:
            kind = "PATH" if name == "str" and any("Path" in part for part in parts) else kind
            return kind, inner is not None, convert
    raise TypeError(
        f"the parameter '{parameter.name}' has the type {text}, expected str, int, float, bool, Path, a sequence of "
        "these, or Any"
    )


def add_output(parser: argparse.ArgumentParser, *, default: bool = True) -> None:
    """Adds `--quiet` and `--log-level`, with their default values or, if `default` is false, without any."""
    group = parser.add_argument_group(OUTPUT)
    group.add_argument(
        "-q",
        "--quiet",
        dest="_quiet",
        action="store_true",
        default=False if default else argparse.SUPPRESS,
        help="print only the result, warnings and errors, and no progress",
    )
    group.add_argument(
        "--log-level",
        dest="_log_level",
        choices=LEVELS,
        default="info" if default else argparse.SUPPRESS,
        help="print messages of this level and above (default: info); progress is shown at info and below",
    )


class Parser(argparse.ArgumentParser):
    """A parser whose messages are short and name the nearest choice, and whose help keeps paragraphs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, **options)
        # A word such as -1x5 is the value of an option, as a negative number is.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """Prints a message on one line, and ends the command."""
        super().error(one_line(message))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parses arguments, and ends the command if one is unknown."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = difflib.get_close_matches(unknown[0], self._option_string_actions, n=1, cutoff=0.7)
            own = re.match("--(label|attributes|mask|image)[= ]?(.*)", " ".join(unknown[:2]))
            if own and "--condition" in self._option_string_actions:
                near = [f"--condition {own[1]}={own[2]}"]
            self.error(f"unexpected argument {shown(unknown[0])}" + (f"; did you mean '{near[0]}'?" if near else ""))
        return found, unknown

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
        if value is None or value == []:
            # Options without a default may also be given as None.
            value = None if parameter.default is parameter.empty else parameter.default
        elif isinstance(value, list) and len(value) == 1 and _type(parameter)[0] == "TEXT":
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
        yield from ("", f"{section}:", *sections[section])
