"""Fixtures of the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny_runs import tiny, write

from auxar.cli import main


@pytest.fixture
def recipe(pictures, tmp_path, monkeypatch) -> Path:
    """A recipe in the working folder."""
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "tiny.toml", tiny(pictures, sampling__images=1))


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail, and returns its error message."""

    def refused(*arguments: object) -> str:
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        assert code == 2, output.err
        assert not output.out
        assert "Traceback" not in output.err
        *_, message = output.err.rpartition("auxar: ")
        return message.strip()

    return refused
