"""Fixtures of the tests of the documentation."""

import importlib

import pytest
from helpers.tiny_runs import PROJECT


@pytest.fixture(scope="module")
def generate():
    """A function that imports a module of `docs/generate` by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT / "docs" / "generate")
        yield importlib.import_module
