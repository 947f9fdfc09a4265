"""The reference of the command line: usage and options of each command, read from its argument parser."""

import argparse
import html
import tomllib
from pathlib import Path

from markdown_tables import table

from auxar.cli.parser import command_line
from auxar.commandline import GROUP
from auxar.commandline import commands as registered
from auxar.commandline.parser import OUTPUT, SECTIONS, documented

ROOT = Path(__file__).parents[2]


def commands() -> str:
    """Formats a Markdown section for each command: its description, its usage and a table of its arguments."""
    return "\n\n".join(_section(name, parser) for name, parser in parsers().items())


def command_list() -> str:
    """Formats a table of all commands for README.md: the first sentence of each, and a link to its section."""
    links = {name: f"[`auxar {name}`](docs/commands.md#auxar-{name})" for name in parsers()}
    summaries = {name: documented(registered()[name].load()).summary for name in links}
    return table(["command", "what it does"], [[links[name], _text(summaries[name])] for name in links])


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Returns the parser of every command by name, in the order of `auxar --help`."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    if others := set(declared[GROUP]) ^ set(registered()):
        raise SystemExit(f"{', '.join(sorted(others))}: not both installed and in pyproject.toml; `pip install -e .`")
    (action,) = (action for action in command_line()._actions if isinstance(action, argparse._SubParsersAction))
    sections = {name: parser.get_default("_command").__auxar__[0] for name, parser in action.choices.items()}
    return {name: action.choices[name] for name in sorted(sections, key=lambda name: SECTIONS.index(sections[name]))}


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    # The options about output are the same for all commands, so the page describes them once.
    output = [action for group in parser._action_groups if group.title == OUTPUT for action in group._group_actions]
    actions = [each for each in parser._actions if not isinstance(each, argparse._HelpAction) and each not in output]
    positionals = [_value(action) for action in actions if not action.option_strings]
    last = [_value(action) for action in actions if action.nargs == argparse.PARSER]  # It has the rest of the line.
    required = [f"{each.option_strings[0]} {_value(each)}" for each in actions if each.option_strings and each.required]
    options = ["[OPTIONS]"] if any(action.option_strings and not action.required for action in actions) else []
    usage = " ".join(["auxar", name, *([] if last else positionals), *required, *options, *last])
    rows = [[f"`{_written(action)}`", _text(action.help or "")] for action in actions]
    parts = [f"## auxar {name}", parser.description or "", f"```text\n{usage}\n```"]
    if rows:
        parts.append(table(["argument", "meaning"], rows))
    return "\n\n".join(parts)


def _text(words: str) -> str:
    """A help text as Markdown: argparse doubles percent signs, and `<name>` must not become an HTML element."""
    return html.escape(words.replace("%%", "%"), quote=False)


def _written(action: argparse.Action) -> str:
    """Returns the names of an option, each followed by its value, or the name of a positional argument."""
    return ", ".join(f"{name} {_value(action)}".strip() for name in action.option_strings) or _value(action)


def _value(action: argparse.Action) -> str:
    """Returns the placeholder for an argument's value, with its choices and the notation for repetition."""
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        name = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        name = str(action.metavar or action.dest.upper())
    several = f"{name} …"
    return {None: name, "+": several, argparse.PARSER: several, "*": f"[{several}]", "?": f"[{name}]"}[action.nargs]
