"""Tests that files and folders that cannot be read are never taken for damaged, missing or empty ones."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers.tiny_runs import PROJECT, run, snapshot, tiny

import auxar
from auxar.commands.evaluate import evaluate
from auxar.commands.sample import sample
from auxar.data.source import open_source
from auxar.draw.image_files import image_files
from auxar.errors import UserError
from auxar.evaluation.comparison import compare_runs
from auxar.files import (
    DamagedFile,
    append_line,
    entries,
    is_file,
    kind,
    read_bytes,
    read_json,
    read_shapes,
    read_tensors,
    write_tensors,
)
from auxar.plugins import load_plugins
from auxar.recipe import DataConfig, load_recipe
from auxar.report import write_report
from auxar.runs.format import check_format
from auxar.training.checkpoints import checkpoints


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("finished") / "run", tiny(pictures, training__checkpoint_every=2))


@pytest.fixture
def own(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@contextlib.contextmanager
def denied(path: Path, *names: str, code: int = errno.EACCES) -> Iterator[None]:
    """Lets the system refuse to open a file, to list a folder, and to call the named functions of `os` with this path.

    Without "lstat" among the names, the path can be looked up like a link whose target cannot be looked up. Permissions
    could not be used, because they do not bind the superuser.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((io, "open"), (os, "listdir"), (os, "scandir"), *((os, name) for name in names)):
            original = getattr(module, name)

            def call(found: Any = ".", *arguments: Any, original: Any = original, **options: Any) -> Any:
                if found in (path, str(path)) and (options.get("follow_symlinks", True) or "lstat" in names):
                    raise OSError(code, os.strerror(code), str(path))
                return original(found, *arguments, **options)

            patch.setattr(module, name, call)
        yield


def refusal(action: Callable[..., Any], *arguments: Any) -> str:
    """Returns the message of the `UserError` that an action raises, after checking that it is not `DamagedFile`."""
    with pytest.raises(UserError) as caught:
        action(*arguments)
    assert not isinstance(caught.value, DamagedFile)
    return str(caught.value)


READERS = (read_bytes, read_json, read_shapes, read_tensors)


@pytest.mark.parametrize("reader", READERS)
def test_the_reasons_why_a_file_is_not_read(tmp_path, reader):
    path = tmp_path / "file"
    assert refusal(reader, path) == f"{path} is missing"
    assert refusal(reader, tmp_path) == f"{tmp_path} cannot be read: it is not a regular file"
    write_tensors(path, {"a": torch.zeros(3)}, {})
    assert refusal(reader, path / "inside") == f"{path / 'inside'} cannot be read: Not a directory"
    with denied(path):
        assert refusal(reader, path) == f"{path} cannot be read: Permission denied"
    with denied(path, "stat", code=errno.EIO):
        assert refusal(reader, path) == f"{path} cannot be read: Input/output error"


def test_a_failing_disk_is_no_damage(tmp_path, monkeypatch):
    """An error in the tensors, which are mapped into memory, would end the process. It is found before."""
    path = tmp_path / "file"
    write_tensors(path, {"a": torch.zeros(2**16)}, {})

    class Failing(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 0:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    monkeypatch.setattr(Path, "open", lambda path, mode: Failing(path))
    assert read_shapes(path) == {"a": (2**16,)}
    assert refusal(read_tensors, path) == f"{path} cannot be read: Input/output error"


@pytest.mark.parametrize("error", [MemoryError("Cannot allocate memory"), RuntimeError("unable to mmap 9 bytes")])
def test_a_lack_of_memory_is_no_damage(tmp_path, monkeypatch, error):
    path = tmp_path / "file"
    write_tensors(path, {"a": torch.zeros(3)}, {})

    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("auxar.files.safe_open", fail)
    assert refusal(read_tensors, path) == f"{path} cannot be read: {error}"


def test_a_folder_that_cannot_be_read_is_not_empty(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("a.x", "folder/b.x", "folder/.c.x", "folder/d.y"):
        (tmp_path / name).touch()
    assert entries(tmp_path) == [tmp_path / "a.x", tmp_path / "folder"]
    assert entries(tmp_path, "*/*.x") == [tmp_path / "folder" / ".c.x", tmp_path / "folder" / "b.x"]
    assert entries(tmp_path / "none", "*") == entries(tmp_path / "a.x", "*") == []
    with denied(tmp_path / "folder"):
        assert refusal(entries, tmp_path, "*/*.x") == f"{tmp_path / 'folder'} cannot be read: Permission denied"


def test_a_file_that_cannot_be_looked_up_is_not_missing(tmp_path):
    path = tmp_path / "file"
    assert not is_file(path)
    assert not is_file(path / "inside")
    append_line(path, "line")
    assert is_file(path)
    assert refusal(is_file, tmp_path) == f"{tmp_path} cannot be read: it is not a regular file"
    with denied(path, "stat"):
        assert refusal(is_file, path) == f"{path} cannot be read: Permission denied"


LONG = "x" * 5000


def opened_data(path: Path) -> None:
    config = DataConfig(str(path))
    recipe = attrs.evolve(load_recipe(PROJECT / "recipes" / "quickstart.toml")[0], data=config)
    open_source(recipe.data)


@pytest.mark.parametrize(
    ("key", "reader"),
    [
        ("recipe", lambda path: load_recipe(path / "x.toml")),
        ("data.path:", lambda path: opened_data(path / "x.toml")),
        ("given:", lambda path: image_files([path / "x.toml"], "given")),
        ("plugins:", lambda path: load_plugins([path / "x.toml"])),
    ],
)
def test_a_given_path_that_cannot_be_looked_up_is_named_with_its_key(tmp_path, key, reader):
    with denied(tmp_path / "x.toml", "stat"):
        assert refusal(reader, tmp_path) == f"{key} {tmp_path / 'x.toml'} cannot be read: Permission denied"
    message = refusal(reader, tmp_path / LONG)
    assert message.startswith(key)
    assert len(message) < 2500
    assert kind(tmp_path / LONG) is kind(tmp_path / "\0") is None


def test_weights_that_cannot_be_read_are_not_to_be_deleted(own):
    path = own / "factors" / "prior" / "weights.safetensors"
    with denied(path):
        for command in (auxar.load, evaluate, sample):
            assert refusal(command, own) == f"{path} cannot be read: Permission denied"


@pytest.mark.parametrize("place", ["training-000000004.safetensors", "."])
def test_training_does_not_fall_back_behind_a_checkpoint_that_cannot_be_read(pictures, own, place):
    """An older checkpoint would repeat steps, and no checkpoint at all would begin again and replace the others."""
    path = own / "factors" / "prior"
    assert len(checkpoints(path)) == 2
    (path / "weights.safetensors").unlink()
    before = snapshot(own)
    with denied(path / place):
        message = refusal(run, own, tiny(pictures, training__checkpoint_every=2))
        assert place != "." or refusal(checkpoints, path) == message
    assert message == f"{path / place} cannot be read: Permission denied"
    assert snapshot(own) == before


@pytest.mark.parametrize("name", ["evaluation.safetensors", "samples/samples.json", "run.json"])
@pytest.mark.parametrize("functions", [(), ("stat",), ("stat", "lstat")])
def test_records_that_cannot_be_read_are_not_missing(finished, own, name, functions):
    readers: list[Callable[[Path], Any]] = [write_report]
    if not name.startswith("samples"):
        readers.append(lambda folder: compare_runs([finished, folder]))
    if name == "run.json":
        readers.append(check_format)
    with denied(own / name, *functions):
        for reader in readers:
            assert refusal(reader, own) == f"{own / name} cannot be read: Permission denied"


@pytest.mark.parametrize("place", [".", "factors", "samples", "samples/images"])
def test_a_folder_of_a_run_that_cannot_be_read_is_not_empty(pictures, own, place):
    before = snapshot(own)
    commands: list[Callable[[Path], Any]] = [lambda folder: run(folder, tiny(pictures))]
    if place == "samples/images":
        commands.append(lambda folder: sample(folder, images=1, out=folder / "samples"))
    with denied(own / place):
        for command in commands:
            assert refusal(command, own) == f"{own / place} cannot be read: Permission denied"
    assert snapshot(own) == before
