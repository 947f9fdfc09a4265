"""Tests that files and folders that cannot be read are never taken for damaged, missing or empty ones."""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import run, snapshot, tiny

from auxar.errors import UserError
from auxar.files import (
    DamagedFile,
    append_line,
    entries,
    is_file,
    read_bytes,
    read_header,
    read_json,
    read_tensors,
    write_tensors,
)


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


READERS = (read_bytes, read_json, read_header, read_tensors)


@pytest.mark.parametrize("reader", READERS)
def test_the_reasons_why_a_file_is_not_read(tmp_path, reader):
    path = tmp_path / "file"
    assert refusal(reader, path) == f"{path} is missing"
    assert refusal(reader, tmp_path) == f"{tmp_path} cannot be read: Is a directory"
    write_tensors(path, {"a": torch.zeros(3)}, {})
    assert refusal(reader, path / "inside") == f"{path / 'inside'} cannot be read: Not a directory"
    with denied(path):
        assert refusal(reader, path) == f"{path} cannot be read: Permission denied"
    with denied(path, "stat", code=errno.EIO):
        assert refusal(reader, path) == f"{path} cannot be read: Input/output error"


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
    assert refusal(append_line, path / "inside", "line").startswith(f"{path / 'inside'} cannot be written: ")
    assert is_file(path)
    assert refusal(is_file, tmp_path) == f"{tmp_path} cannot be read: it is not a regular file"
    with denied(path, "stat"):
        assert refusal(is_file, path) == f"{path} cannot be read: Permission denied"


@pytest.mark.parametrize(
    "place",
    [
        *("evaluation.safetensors", "run.json", ".", "factors", "samples", "samples/images"),
        *("factors/prior", "factors/prior/training-000000004.safetensors"),
    ],
)
def test_what_a_run_cannot_read_is_neither_missing_nor_empty(pictures, copied, place):
    """Training without the last checkpoint would repeat steps, and without any would begin again and replace others."""
    if place.startswith("factors/prior"):
        (copied / "factors" / "prior" / "weights.safetensors").unlink()
    before = snapshot(copied)
    with denied(copied / place):
        assert refusal(run, copied, tiny(pictures)) == f"{copied / place} cannot be read: Permission denied"
    assert {name: content for name, content in snapshot(copied).items() if name != ".lock.json"} == before
