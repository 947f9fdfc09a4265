"""Tests that the check of commands finds imports of slow libraries."""

import importlib

import pytest
from helpers.contract import breaks

from auxar.testing import check_command

COMMAND = '''
import {name}
import auxar

@auxar.command("Measure", show=lambda found: auxar.Result([], found))
def seven() -> int:
    """Returns 7."""
    return 7
'''


@pytest.mark.parametrize("name", ["PIL", "attrs", "datasets", "numpy", "torch"])
def test_a_command_whose_module_imports_a_slow_library_is_found(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"command_with_{name}.py").write_text(COMMAND.format(name=name))
    command = importlib.import_module(f"command_with_{name}").seven
    (tmp_path / f"{name}.py").write_text("")  # The process of the check imports this file, which is faster.
    assert f"imports {name}; import" in breaks("light", check_command, command)
