"""Tests that output goes only to new files and to files that auxar made, and never to links or folders."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import run, said, snapshot, tiny, write
from PIL import Image

from auxar.cli import main
from auxar.commands.run import run as run_recipe
from auxar.commands.sample import sample
from auxar.draw.samples import check_samples
from auxar.draw.sheets import save_png
from auxar.files import append_line, replacing, write_json, write_tensors, write_text
from auxar.leftovers import unfinished
from auxar.report import write_report
from auxar.runs import opening
from auxar.runs.layout import check_folder
from auxar.runs.lock import holding

# Kinds of files


def link(path: Path) -> None:
    (path.parent / "target").write_text("precious")
    path.symlink_to("target")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


SPECIAL = {link: "link", dangling: "link", Path.mkdir: "folder"}
WRITERS = {
    "text": lambda path: write_text(path, "text"),
    "json": lambda path: write_json(path, {}),
    "tensors": lambda path: write_tensors(path, {"a": torch.zeros(1)}, {}),
    "line": lambda path: append_line(path, "line"),
    "picture": lambda path: save_png(Image.new("RGB", (1, 1)), path),
}


@pytest.mark.parametrize(("make", "kind"), SPECIAL.items())
def test_output_goes_only_to_new_and_regular_files(tmp_path, make, kind):
    path = tmp_path / "file"
    make(path)
    before = snapshot(tmp_path), path.lstat().st_mtime_ns
    for name, writer in WRITERS.items():
        expected = f"{path} cannot be written: expected a new or a regular file, found a {kind}"
        assert said(writer, path) == expected, name
    assert (snapshot(tmp_path), path.lstat().st_mtime_ns) == before
    assert not (tmp_path / "nowhere").exists()
    assert set(os.listdir(tmp_path)) <= {"file", "target"}


def test_only_temporary_files_of_auxar_are_unfinished(tmp_path):
    for name in (".movie.mp4.part", ".part", ".a.part", ".a.ABCDEFGH.part", "a.abcdefgh.part", ".abcdefgh.part"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.abcdefgh.part").mkdir()
    (tmp_path / ".link.abcdefgh.part").symlink_to(".part")
    with replacing(tmp_path / "a\nb.png") as temporary:
        assert unfinished(tmp_path) == unfinished(tmp_path, ["a\nb.png"]) == [temporary]
        assert unfinished(tmp_path, ["b.png"]) == []
        assert unfinished(tmp_path, unchanged=3600) == []
        os.utime(temporary, (0, 0))
        assert unfinished(tmp_path, unchanged=3600) == [temporary]


# Commands


def test_pages_replace_only_their_like(finished, copied, tmp_path, capsys):
    page = copied / "report.html"
    assert write_report(copied).read_bytes() == write_report(copied).read_bytes()
    page.write_text("<!doctype html>\n<title>notes</title>")
    assert said(write_report, copied).startswith(f"{page} cannot be written: it is not a report page of auxar; ")

    page = tmp_path / "page.html"
    compare = ["compare", str(finished), str(finished), "--out"]
    for _ in range(2):
        assert main([*compare, str(page)]) == 0
    own = tmp_path / "notes.html"
    own.write_text("<!doctype html>\n<title>notes</title>")
    for file in (own, shutil.copy(finished / "report.html", tmp_path)):
        before = snapshot(tmp_path)
        capsys.readouterr()
        assert main([*compare, str(file)]) == 2
        expected = f"{file} cannot be written: it is not a comparison page of auxar; delete it, or choose another name"
        assert capsys.readouterr() == ("", f"auxar: {expected}\n")
        assert snapshot(tmp_path) == before


def test_a_users_recipe_is_not_replaced_by_that_of_a_run(pictures, tmp_path):
    recipe = write(tmp_path / "recipe.toml", tiny(pictures))
    for name in ("plugins/a.py", "factors/a.csv", "samples/a.png", "metrics.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    before = snapshot(tmp_path)
    assert said(run_recipe, recipe, out=tmp_path) == (
        f"{tmp_path / 'recipe.toml'} is not the recipe of a run, and would be replaced; choose another folder with "
        "--out"
    )
    assert snapshot(tmp_path) == before
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("function", ["write_format", "_write_if_new"])
def test_a_run_that_was_killed_at_its_start_is_continued(pictures, tmp_path, monkeypatch, function):
    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    table = tiny(pictures, training__steps=1)
    monkeypatch.setattr(opening, function, killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", table)
    monkeypatch.undo()
    run(tmp_path / "run", table, only=["prior"])


@pytest.mark.parametrize("name", [".lock", ".lock.json"])
@pytest.mark.parametrize("content", ["precious", '{"pid": 1}'])
def test_a_lock_replaces_no_file_of_a_user(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert said(holding(tmp_path).__enter__).startswith(f"{tmp_path / name} cannot be ")
    assert (tmp_path / name).read_text() == content
    (tmp_path / name).unlink()
    with holding(tmp_path):
        pass


def test_a_run_begins_only_among_temporary_files_of_its_own(tmp_path):
    (tmp_path / ".lock").touch()
    for name in (".lock.json", "run.json", "recipe.toml"):
        (tmp_path / f".{name}.abcdefgh.part").touch()
    check_folder(tmp_path)
    (tmp_path / ".movie.abcdefgh.part").touch()
    assert "exists and is not a run's folder" in said(check_folder, tmp_path)


# Samples


@pytest.mark.parametrize("name", ["images/000000.png", "samples.png", "samples.json", "images/.a.abcdefgh.part"])
def test_files_of_a_user_with_names_of_samples_are_kept(tmp_path, name):
    """Such files are removed only from folders in which auxar has drawn samples. Other programs have locks, too."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"count": 3}')
    (tmp_path / ".lock").touch()
    assert said(check_samples, tmp_path).startswith(f"{tmp_path / name} is not a sample of an earlier call")
    assert said(check_samples, tmp_path / name).endswith("cannot be written: expected a folder, found a regular file")


def test_samples_are_drawn_after_a_call_that_was_killed_before_its_mark(finished, tmp_path):
    for name in (".lock", "..lock.json.abcdefgh.part", "..samples.json.abcdefgh.part"):
        (tmp_path / name).touch()
    sample(finished, images=1, out=tmp_path)
    assert {path.name for path in tmp_path.glob(".*")} == {".lock"}
