"""Tests that all public names of `auxar` exist and are imported lazily, and that functions take any kind of path."""

from __future__ import annotations

import ast
import doctest
import importlib.metadata
import inspect
import pydoc
import re
import sys
from pathlib import Path
from string import Template

import pytest
from helpers.tiny_runs import PROJECT, call, tiny, write

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.files import read_json

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


def test_names_that_only_the_package_uses_are_not_completed():
    assert not {"Path", "importlib", "re"} & set(dir(auxar))


def test_testing_needs_no_import_of_its_own(tmp_path):
    code = "import auxar; print(auxar.testing.check_view.__name__, 'testing' in dir(auxar))"
    assert call([sys.executable, "-c", code], tmp_path).stdout == "check_view True\n"


def test_a_wrong_name_carries_what_python_needs_for_a_suggestion():
    with pytest.raises(AttributeError, match="module 'auxar' has no attribute 'laod'") as found:
        _ = auxar.laod  # type: ignore[attr-defined]
    assert (found.value.name, found.value.obj) == ("laod", auxar)


def test_type_checkers_see_the_same_names():
    table = ast.parse((PROJECT / "auxar" / "__init__.pyi").read_text(encoding="utf-8"))
    imported = [alias for node in table.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [alias.name for alias in imported if alias.name != "testing"] == auxar.__all__
    assert all(alias.asname == alias.name for alias in imported)  # Only such names are exported by a stub.


def test_help_shows_the_names():
    assert "RestrictableHead" in pydoc.render_doc(auxar, renderer=pydoc.plaintext)  # type: ignore[attr-defined]


def test_a_name_that_there_is_not():
    with pytest.raises(AttributeError, match="module 'auxar' has no attribute 'nothing'"):
        auxar.nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        exec("from auxar import nothing")


def test_the_version_is_the_packages(capsys):
    assert auxar.__version__ == importlib.metadata.version("auxar")
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"auxar {auxar.__version__}\n"


def test_the_core_does_not_import_from_the_package_itself():
    """Modules import from each other and not from `auxar` itself, so that its lazy names cause no circular imports."""
    for file in (PROJECT / "auxar").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.module == "auxar"), file
            assert not (isinstance(node, ast.Import) and "auxar" in {alias.name for alias in node.names}), file


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


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_are_texts_or_paths(pictures, finished, tmp_path, kind):
    recipe = write(tmp_path / "tiny.toml", tiny(pictures, training__steps=1, sampling__images=0))
    folder = auxar.run(kind(recipe), settings=["training.seed=3"], out=kind(tmp_path / "run"), only=["prior"])
    assert folder.path == tmp_path / "run"
    assert auxar.load_recipe(kind(folder.recipe))[0].training.seed == 3
    assert auxar.evaluate(kind(finished)).path == finished
    drawn = auxar.sample(kind(finished), images=2, rule="map", out=kind(tmp_path / "drawn"))
    assert drawn == tmp_path / "drawn"
    facts = read_json(drawn / "samples.json")
    assert (facts["count"], facts["rule"]["name"]) == (2, "map")
    given = auxar.sample(kind(finished), given=[kind(pictures / "000.png")], out=kind(tmp_path / "given"))
    assert read_json(given / "samples.json")["count"] == 4
    comparison = auxar.compare([kind(finished), kind(finished)])
    assert comparison.runs[1].margin.bits_per_dim == 0
    assert auxar.load(kind(finished)).sample(1).shape == (1, 3, 8, 8)
    assert auxar.figures(kind(finished), rows=1) == finished / "figures"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "4"}, "images: images must be an integer from -2^63 to 2^63 - 1, got '4'"),
        ({"images": True}, "images: images must be an integer from -2^63 to 2^63 - 1, got True"),
        ({"seed": 2**63}, f"seed: seed must be an integer from -2^63 to 2^63 - 1, got {2**63}"),
    ],
)
def test_options_of_any_type_are_checked(finished, options, message):
    with pytest.raises(UserError) as caught:
        auxar.sample(finished, **options)
    assert str(caught.value) == message
