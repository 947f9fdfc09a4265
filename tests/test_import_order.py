"""Tests that modules import only from lower packages, and never in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.tiny_runs import PROJECT

LAYERS = [
    ["errors", "numerics", "progress", "version"],
    ["arguments", "commandline", "files", "structuring", "validation"],
    ["leftovers", "locks", "model", "plugin_files"],
    ["caching", "plugins"],
    ["plugin_paths", "recipe", "work"],
    ["data", "runs"],
    ["evaluation", "scaffold", "testing"],
    ["exporting"],
    ["training"],
    ["draw"],
    ["report"],
    ["pipeline"],
    ["sweeps"],
    ["cli"],
    ["commands"],
    ["__main__"],
]
"""Parts of the core, from the lowest to the highest. The public names in `auxar/__init__.py` are above all of them."""
RANKS = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def modules() -> dict[str, Path]:
    found = {}
    for root in (PROJECT, PROJECT / "plugins"):
        for file in sorted(root.glob("auxar*/**/*.py")):
            name = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            found[name] = file
    return found


MODULES = modules()


def imported(name: str) -> Iterator[str]:
    """Yields every module of the project that a module imports, also for type checkers or in functions."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("auxar.")])
def test_no_module_of_the_core_imports_from_a_higher_part(name):
    part = name.split(".")[1]
    for other in imported(name):
        assert other != "auxar", f"{name} imports the public names, which are for scripts and plugins"
        lower = other.split(".")[1] if other.startswith("auxar.") else None
        assert lower is not None, f"{name} imports the plugin {other}"
        assert lower == part or RANKS[lower] < RANKS[part], f"{name} imports {other}"


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("auxar.") and name != "auxar"])
def test_a_plugin_imports_only_what_other_plugins_can(name):
    for other in imported(name):
        package = ".".join(other.split(".")[:2])
        assert package in ("auxar", "auxar.numerics", "auxar.testing") or other.startswith("auxar_"), other


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: set(imported(name)) - {name, "auxar"} for name in MODULES if name != "auxar"}
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' → '.join((*path[path.index(name) :], name))}"
        if name not in finished:
            for other in graph[name]:
                visit(other, (*path, name))
            finished.add(name)

    for name in graph:
        visit(name, ())
