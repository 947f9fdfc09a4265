"""Tests of progress while images are loaded: that of auxar, and that of the libraries that read data sets."""

import io
import sys

import datasets
import huggingface_hub.utils
import pytest
from helpers.tiny_runs import tiny, write, write_pictures

from auxar.cli import main
from auxar.data import stored
from auxar.data.library import progress_in_main_process
from auxar.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("on_terminal", "rank", "shown"), [(False, "0", False), (True, "0", True), (True, "1", False)])
def test_libraries_show_bars_only_where_auxar_does(monkeypatch, on_terminal, rank, shown):
    libraries = (datasets, huggingface_hub.utils)
    monkeypatch.setattr(sys, "stderr", Terminal() if on_terminal else io.StringIO())
    monkeypatch.setenv("RANK", rank)
    with progress_in_main_process():
        assert [not library.are_progress_bars_disabled() for library in libraries] == [shown, shown]
    assert not any(library.are_progress_bars_disabled() for library in libraries)


def test_the_preparation_of_images_has_progress(tmp_path, monkeypatch, capfd):
    bars = []

    def recorded(*arguments, **options):
        bars.append(progress_bar(*arguments, **options))
        return bars[-1]

    monkeypatch.setattr(stored, "progress_bar", recorded)
    recipe = write(tmp_path / "tiny.toml", tiny(write_pictures(tmp_path / "seven", 7)))
    assert main(["views", str(recipe), "--depth", "0", "-o", str(tmp_path / "out")]) == 0
    assert [(bar.desc, bar.n, bar.total, bar.delay) for bar in bars] == [("preparing images", 7, 7, 1)]
    output = capfd.readouterr()
    assert output.out == f"{tmp_path / 'out'}\n"
    assert "\r" not in output.err
