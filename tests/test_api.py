"""Tests that all public names of `auxar` exist and are imported lazily, and that functions take any kind of path."""

from __future__ import annotations

import ast
import doctest
import importlib.metadata
import inspect
import re
import sys
from string import Template

import pytest
from helpers.tiny_runs import PROJECT, call

import auxar
from auxar.cli import main
from auxar.errors import UserError

RARELY_CALLED = (
    "CausalDistribution",
    "Ancestral",
    "Chain",
    "Choice",
    "Comparison",
    "Condition",
    "Conditioning",
    "Conditions",
    "DrawSource",
    "DrawnPixels",
    "Evaluation",
    "Examples",
    "Factor",
    "HeadChoice",
    "GivenView",
    "Scores",
)
"""Concrete public classes whose methods need no examples, because users and plugin authors rarely call them."""


def examples(value: object) -> str:
    """Returns the lines of code in the docstring's examples of a function or a class."""
    return "\n".join(example.source for example in doctest.DocTestParser().get_examples(inspect.getdoc(value) or ""))


def is_abstract(method: object) -> bool:
    return getattr(method, "__isabstractmethod__", False) or method.__doc__ is None  # It inherits the docstring.


@pytest.mark.parametrize("name", auxar.__all__)
def test_every_public_function_and_every_method_that_users_call_has_an_example(name):
    value = getattr(auxar, name)
    if inspect.isfunction(value):
        assert re.search(rf"\b{name}\b", examples(value)), name
    called = inspect.isclass(value) and not inspect.isabstract(value) and name not in RARELY_CALLED
    for method, function in vars(value).items() if called else ():
        if not method.startswith("_") and inspect.isroutine(function) and not is_abstract(function):
            assert re.search(rf"\.{method}\(", examples(value) + examples(function)), f"{name}.{method}"


@pytest.mark.parametrize("name", auxar.__all__)
def test_every_public_name_resolves(name):
    value = getattr(auxar, name)
    assert value is getattr(auxar, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name
        assert (value.__doc__ or "").strip()


def test_all_is_shown_before_anything_is_loaded(tmp_path):
    code = "import auxar, sys; print(set(auxar.__all__) <= set(dir(auxar)), *[m for m in sys.modules if '.' not in m])"
    shown, *modules = call([sys.executable, "-c", code], tmp_path).stdout.split()
    assert shown == "True"
    assert "auxar" in modules
    assert not {"torch", "numpy", "datasets", "attrs", "accelerate", "pluggy"} & set(modules)


def test_testing_needs_no_import_of_its_own(tmp_path):
    code = "import auxar; print(auxar.testing.check_view.__name__, 'testing' in dir(auxar))"
    assert call([sys.executable, "-c", code], tmp_path).stdout == "check_view True\n"


def test_type_checkers_see_the_same_names():
    table = ast.parse((PROJECT / "auxar" / "__init__.pyi").read_text(encoding="utf-8"))
    imported = [alias for node in table.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [alias.name for alias in imported if alias.name != "testing"] == auxar.__all__
    assert all(alias.asname == alias.name for alias in imported)  # Only such names are exported by a stub.


def test_a_name_that_there_is_not():
    with pytest.raises(AttributeError, match="module 'auxar' has no attribute 'nothing'") as found:
        auxar.nothing  # type: ignore[attr-defined]  # noqa: B018
    assert (found.value.name, found.value.obj) == ("nothing", auxar), "Python needs them for a suggestion"
    with pytest.raises(ImportError):
        exec("from auxar import nothing")


def test_the_version_is_the_packages(capsys):
    assert auxar.__version__ == importlib.metadata.version("auxar")
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"auxar {auxar.__version__}\n"


def written_for_authors() -> dict[str, str]:
    """Returns the Python code that plugin authors read, by place: shipped plugins, templates and blocks of pages."""
    found = {}
    for file in (PROJECT / "plugins").rglob("*.py"):
        found[file.relative_to(PROJECT).as_posix()] = file.read_text(encoding="utf-8")
    for file in (PROJECT / "auxar" / "scaffold" / "templates").rglob("*.py.template"):
        names = dict.fromkeys(("module", "component", "function", "prefix", "kind", "project"), "name")
        found[file.relative_to(PROJECT).as_posix()] = Template(file.read_text(encoding="utf-8")).substitute(names)
    for page in [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]:
        blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        found |= {f"{page.relative_to(PROJECT)}, block {number}": text for number, text in enumerate(blocks)}
    return found


WRITTEN = written_for_authors()


@pytest.mark.parametrize("place", WRITTEN)
def test_what_authors_read_imports_public_names_from_the_package_itself(place):
    for node in ast.walk(ast.parse(WRITTEN[place])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("auxar."):
            deeper = [alias.name for alias in node.names if alias.name in auxar.__all__]
            assert not deeper, f"{place}: from {node.module} import {', '.join(deeper)}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "4"}, "images: expected an integer, got the string '4'"),
        ({"images": True}, "images: expected an integer, got the boolean True"),
        ({"seed": 2**63}, "seed: expected an integer from -2^63 to 2^63 - 1"),
    ],
)
def test_options_of_any_type_are_checked(finished, options, message):
    with pytest.raises(UserError) as caught:
        auxar.sample(finished, **options)
    assert str(caught.value) == message
