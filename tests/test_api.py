"""Tests that all public names of `auxar` exist and are imported lazily, and that functions take any kind of path."""

import doctest
import importlib.metadata
import inspect
import re
import sys

import pytest
from helpers.tiny_runs import call

import auxar
from auxar.cli import main

RARELY_CALLED = (
    "CausalDistribution",
    "Ancestral",
    "Chain",
    "Choice",
    "Comparison",
    "Condition",
    "Conditional",
    "Conditioning",
    "Conditions",
    "DrawSource",
    "DrawnPixels",
    "Evaluation",
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


def test_testing_needs_no_import_of_its_own():
    assert auxar.__getattr__("testing").check_view.__name__ == "check_view"
    assert "testing" in dir(auxar)


def test_a_name_that_there_is_not():
    with pytest.raises(AttributeError, match="module 'auxar' has no attribute 'nothing'") as found:
        auxar.nothing  # type: ignore[attr-defined]  # noqa: B018
    assert (found.value.name, found.value.obj) == ("nothing", auxar), "Python needs them for a suggestion"
    with pytest.raises(ImportError):
        exec("from auxar import nothing")


def test_the_version_is_the_packages(capsys):
    assert auxar.__version__ == importlib.metadata.version("auxar")
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"auxar {auxar.__version__}\n"
