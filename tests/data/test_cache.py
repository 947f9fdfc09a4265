"""Tests of cached images: damage, interruption, several processes, and folders that are read-only."""

import copy
import errno
import hashlib
import logging
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest
import torch
from helpers.image_sets import load, write_numbered, write_parquet
from helpers.tiny_runs import said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auxar.data import checksums
from auxar.errors import UserError

COUNT = 12


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A separate cache folder of the `datasets` library for each test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "auxar"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_numbered(tmp_path_factory.mktemp("images"), COUNT)


def pixels(path: Path) -> torch.Tensor:
    sets = load(path)
    return torch.cat([*sets.train.in_order(COUNT), *sets.heldout.in_order(COUNT)])


def prepared(cache: Path) -> Path:
    (file,) = cache.glob("*.arrow")
    return file


def flipped(content: bytes) -> bytes:
    middle = slice(len(content) // 2 - 250, len(content) // 2 + 250)
    return content[: middle.start] + bytes(byte ^ 255 for byte in content[middle]) + content[middle.stop :]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "bytes flipped": (flipped, "is damaged: its content does not match its checksum"),
    "longer": (lambda content: content + b"\0", "is damaged: its content does not match its checksum"),
    "empty": (lambda content: b"", "is damaged: its content does not match its checksum"),
    "no checksum": (flipped, "has no checksum"),
}
"""Changes of the file of prepared images, and what is said about it."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_images_are_prepared_again(folder, cache, caplog, conversions, damage):
    expected = pixels(folder)
    file, (change, said) = prepared(cache), DAMAGE[damage]
    content = file.read_bytes()
    file.write_bytes(change(content))
    if damage == "no checksum":  # The process was killed before it wrote the checksum.
        checksums.beside(file).unlink()
    conversions.clear()
    with caplog.at_level(logging.WARNING, "auxar"):
        assert torch.equal(pixels(folder), expected)
    assert f"{file} {said}; its images are prepared again" in caplog.text
    assert len(conversions) == COUNT
    assert file.read_bytes() == content
    conversions.clear()
    caplog.clear()
    assert torch.equal(pixels(folder), expected)
    assert not conversions
    assert not caplog.text


@given(st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_changed_byte_is_noticed(tmp_path, data):
    content = data.draw(st.binary(min_size=1, max_size=100))
    (tmp_path / "made").write_bytes(content)
    file = tmp_path / "file"
    checksums.publish(tmp_path / "made", file)
    assert checksums.problem(file) is None
    digest = hashlib.sha256(content).hexdigest()
    assert (tmp_path / "file.sha256").read_text() == f"{digest}  file\n", "the format of the program sha256sum"
    place = data.draw(st.integers(0, len(content) - 1))
    changed = content[place] ^ data.draw(st.integers(1, 255))
    file.write_bytes(content[:place] + bytes([changed]) + content[place + 1 :])
    assert checksums.problem(file) is not None


def test_files_are_flushed_before_they_are_renamed(folder, cache, monkeypatch):
    flushed = set()
    flush, replace = os.fsync, Path.replace

    def flushing(handle: int) -> None:
        flush(handle)
        flushed.add(os.fstat(handle).st_ino)

    def replacing(self: Path, target: Path) -> Path:
        assert self.stat().st_ino in flushed
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(Path, "replace", replacing)
    load(folder)
    assert {prepared(cache).stat().st_ino, checksums.beside(prepared(cache)).stat().st_ino} <= flushed


def test_preparation_that_was_killed_is_done_again(folder, cache):
    """A process was killed before it renamed the file of images."""
    expected = pixels(folder)
    file = prepared(cache)
    content, checksum = file.read_bytes(), checksums.beside(file)
    checksum.unlink()
    file.rename(file.with_suffix(".part"))
    assert torch.equal(pixels(folder), expected)
    assert prepared(cache).read_bytes() == content
    assert checksums.problem(prepared(cache)) is None
    assert not file.with_suffix(".part").exists()


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise copy.copy(error)

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")
WRITES = [
    ("folder", "pathlib.Path.mkdir"),
    ("folder", "pyarrow.ipc.new_stream"),
    ("folder", "os.fsync"),
    ("parquet", "datasets.arrow_writer.ArrowWriter.write_table"),
    ("parquet", "shutil.move"),
]


@pytest.mark.parametrize(("source", "write"), WRITES)
def test_full_disk_is_told_and_leaves_nothing(folder, tmp_path, cache, monkeypatch, source, write):
    path = folder if source == "folder" else write_parquet(tmp_path / "set.parquet", COUNT)
    with monkeypatch.context() as patch:
        patch.setattr(write, failing(FULL))
        message = said(load, path)
    assert re.fullmatch(
        rf"{cache.parent}.* cannot be written: No space left on device; free disk space, or set the environment "
        "variable HF_DATASETS_CACHE to a folder on another file system",
        message,
    )
    left = [file.name for file in cache.parent.rglob("*")]
    assert not [
        name for name in left if name.endswith((".part", ".incomplete", ".arrow.sha256")) or name.startswith("tmp")
    ]
    assert not list(cache.glob("*.arrow"))
    assert len(pixels(path)) == COUNT


def test_one_process_converts_and_the_others_wait(folder, cache, conversions):
    expected = pixels(folder)
    prepared(cache).write_bytes(b"")
    conversions.clear()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(pixels, [folder] * 4):
            assert torch.equal(found, expected)
    assert set(conversions.values()) == {1}


def test_read_only_cache_is_verified_and_read(folder, cache, monkeypatch):
    expected = pixels(folder)
    for target in ("auxar.locks.filelock.FileLock", "os.fsync"):  # They fail for the administrator, too.
        monkeypatch.setattr(target, failing(OSError(errno.EROFS, "Read-only file system")))
    assert torch.equal(pixels(folder), expected)
    file = prepared(cache)
    damaged = flipped(file.read_bytes())
    file.write_bytes(damaged)
    with pytest.raises(UserError, match=r"cannot be written: Read-only file system; .*HF_DATASETS_CACHE"):
        load(folder)
    assert file.read_bytes() == damaged
