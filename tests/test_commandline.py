"""Tests that a function becomes a command: arguments, options, help, results and mistakes."""

import argparse
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from helpers import example_command
from helpers.example_command import example
from helpers.tiny_runs import process_environment

import auxar
from auxar import commandline
from auxar.cli import main
from auxar.cli.parser import command_line
from auxar.commandline import commands
from auxar.commandline.parser import SECTIONS, add_command, arguments_of, documented
from auxar.testing import ContractError, check_command

COMMANDS = list(commands())


def parsed(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_command(parser, example)
    return arguments_of(example, parser.parse_args(words))


USUAL = {
    "run": "r",
    "paths": ["p"],
    "out": Path("f"),
    "names": [],
    "count": 3,
    "scale": None,
    "condition": None,
    "settings": [],
    "only": [],
    "values": [],
    "kinds": ["a", "b"],
    "command": "x",
    "shuffle": True,
    "replace": False,
    "trust_plugins": False,
}


@pytest.mark.parametrize("types", [False, True])
@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("r p -o f", {}),
        ("r p q --out f", {"paths": ["p", "q"]}),
        ("r p -o f -n -2 --scale 1e3", {"count": -2, "scale": 1000.0}),
        ("r p -o f --count 9", {"count": 9}),
        ("r p -o f --condition label=a", {"condition": "label=a"}),
        ("r p -o f --condition label=a --condition none", {"condition": ["label=a", "none"]}),
        ("r p -o f --set a=1 b=2 --set c=3", {"settings": ["a=1", "b=2", "c=3"]}),
        ("r p -o f --factors stage0,,prior,", {"only": ["stage0", "prior"]}),
        ("r p -o f --values a=1,2 b=3 --kinds c", {"values": ["a=1,2", "b=3"], "kinds": ["c"]}),
        ("r p -o f --no-shuffle --command y", {"shuffle": False, "command": "y"}),
        ("r p -o f --replace --trust-plugins", {"replace": True, "trust_plugins": True}),
    ],
)
def test_arguments_are_those_of_the_function(monkeypatch, words, changed, types):
    """Annotations may be texts or types."""
    if types:
        monkeypatch.setattr(example, "__annotations__", get_type_hints(example))
    found = parsed(*words.split())
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()} == {
        **USUAL,
        **changed,
    }


def test_a_list_without_names_is_refused(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        parsed("r", "p", "-o", "f", "--factors", ",")
    assert capsys.readouterr().err.endswith("argument --factors: expected names separated by commas\n")


def test_the_docstring_gives_the_help():
    assert documented(example).summary == "Does something with a run and pictures"
    assert documented(example).description.endswith("It uses 100 % of them.")
    parser = argparse.ArgumentParser()
    add_command(parser, example)
    text = " ".join(parser.format_help().split())
    for part in (
        "PATH image files, or folders of image files",
        "-o FILE, --out FILE the file",
        "-n N, --count N number of images (0: none) (default: 3)",
        "--scale X a factor",
        "--factors NAME,… the factors",
        "--set KEY=VALUE [KEY=VALUE ...] override keys of the recipe",
        "RUN a run's folder",
    ):
        assert part in text
    assert "Raises" not in text


@pytest.fixture
def registered(monkeypatch):
    """Registers `example` as the command `an-example`, beside the commands of auxar."""
    entry = metadata.EntryPoint("an-example", "helpers.example_command:example", commandline.GROUP)
    found = {**commands(), "an-example": entry}
    for place in ("auxar.cli.parser.commands", "auxar.commandline.commands"):
        monkeypatch.setattr(place, lambda *group: found)


def test_a_command_of_a_plugin_is_a_command_and_a_function(registered, capsys):
    assert main(["an-example", "r", "p", "-o", "f"]) == 0
    assert capsys.readouterr().out == "{'run': 'r', 'count': 3}\n"
    assert main(["an-example", "r", "p", "-o", "f", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"run": "r", "count": 3}
    assert "an-example    Does something with a run and pictures" in command_line().format_help()
    assert auxar.an_example is example  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("lost", "AttributeError: "),
        ("undecorated", "TypeError: expected a function with the decorator `auxar.command` and a docstring"),
        ("without_docstring", "TypeError: expected a function with the decorator"),
        ("without_entry", "TypeError: the section Args: of the docstring needs an entry 'count: …'"),
        ("with_many", "TypeError: the parameter 'paths' cannot be given by keyword"),
        ("with_table", "TypeError: the parameter 'table' has the type dict[str, str], expected str, int, float, bool"),
    ],
)
def test_a_command_that_cannot_be_loaded_leaves_the_others(monkeypatch, capsys, name, error):
    entry = metadata.EntryPoint("lost", f"helpers.example_command:{name}", commandline.GROUP)
    found = {**commands(), "lost": entry}
    monkeypatch.setattr("auxar.cli.parser.commands", lambda: found)
    told = f"the command lost of {entry.value} cannot be loaded: {error}"
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["lost"])
    assert told in capsys.readouterr().err
    assert main([]) == 2
    assert "  recipes " in capsys.readouterr().err
    assert "recipes" in command_line().format_help()
    assert told in capsys.readouterr().err


def test_auxars_own_command_wins_over_another_of_its_name(monkeypatch):
    own, other = (
        metadata.EntryPoint("score", value, commandline.GROUP) for value in ("auxar.commands.score:score", "z_b:score")
    )
    for entries in ([own, other], [other, own]):
        monkeypatch.setattr("auxar.commandline.metadata.entry_points", lambda group, entries=entries: entries)
        assert commands() == {"score": own}


@pytest.mark.parametrize("words", [["--help"], ["--help", "run"], ["-q", "-h"]])
def test_help_lists_all_commands(capsys, words):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(words)
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    assert text.rstrip().endswith("`auxar COMMAND --help` describes a command.")


def test_a_mistake_names_the_option(registered, refused):
    assert refused("an-example", "r", "p", "-o", "f", "-n", "7") == "--count: expected another number"


def test_check_command_accepts_commands_and_names_broken_laws():
    assert check_command(example, "r", "p", "-o", "f") == {"run": "r", "count": 3}

    for function, arguments, law in (
        (example_command.undecorated, [], "registration"),
        (example_command.without_docstring, [], "docstring"),
        (example_command.without_entry, ["1"], "parameters"),
        (example_command.unwritable, [], "result"),
    ):
        with pytest.raises(ContractError) as caught:
            check_command(function, *arguments)
        assert caught.value.law == law


# The commands of auxar


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_and_a_section(name, capsys):
    function = commands()[name].load()
    section, _ = function.__auxar__
    assert section in SECTIONS
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: auxar {name} [-h] ")
    assert "--json" in text
    summary = documented(function).summary
    assert summary in " ".join(text.split())
    assert len(summary.split()) <= 10
    assert f"  {name:<14}{summary[:30]}" in command_line().format_help()


def test_help_needs_no_large_library():
    code = (
        "import sys, auxar.__main__, auxar.cli; from auxar.cli.parser import command_line; "
        "command_line().format_help(); command_line([]).format_help(); "
        "print(*sorted({'torch', 'numpy', 'datasets', 'accelerate', 'attrs', 'shtab', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=process_environment()
    )
    assert done.stdout == "\n"
