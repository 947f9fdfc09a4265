"""Tests of cached images: damage, interruption, several processes, and folders that are read-only."""

from __future__ import annotations

import copy
import errno
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from auxar.data import DataSets, StoredImages, checksums, load_images
from auxar.data.conversion import Preparation
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.plugins import Registry
from auxar.recipe import DataConfig, Split

SPEC = ImageSpec(3, height=4, width=4)
COUNT = 12


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """A separate cache folder of the `datasets` library for each test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "auxar"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        Image.fromarray(generator.integers(0, 256, (4, 4, 3), np.uint8)).save(root / f"{number:02}.png")
    return root


@pytest.fixture
def conversions(monkeypatch) -> Counter[str]:
    """Counts the conversions of each image."""
    count: Counter[str] = Counter()
    convert = Preparation.__call__

    def counting(self: Preparation, encoded: bytes, name: str) -> np.ndarray:
        count[name] += 1
        return convert(self, encoded, name)

    monkeypatch.setattr(Preparation, "__call__", counting)
    return count


def load(path: Path) -> DataSets:
    return load_images(DataConfig(str(path), split=Split(0.5)), SPEC, Registry())


def pixels(path: Path) -> torch.Tensor:
    sets = load(path)
    assert isinstance(sets.train, StoredImages)
    assert isinstance(sets.heldout, StoredImages)
    return torch.cat([images.fetch(range(len(images))) for images in (sets.train, sets.heldout)])


def prepared(cache: Path) -> Path:
    (file,) = cache.glob("*.arrow")
    return file


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return (
        content[: middle - 250]
        + bytes(byte ^ 255 for byte in content[middle - 250 : middle + 250])
        + content[middle + 250 :]
    )


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "second half zeroed": lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
    "bytes flipped": flipped,
    "cut": lambda content: content[: len(content) // 2],
    "cut at the end": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "empty": lambda content: b"",
    "text": lambda content: b"not an Arrow file",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_images_are_prepared_again(folder, cache, caplog, conversions, damage):
    expected = pixels(folder)
    file = prepared(cache)
    content = file.read_bytes()
    file.write_bytes(DAMAGE[damage](content))
    conversions.clear()
    with caplog.at_level(logging.WARNING, "auxar"):
        assert torch.equal(pixels(folder), expected)
    assert f"{file} is damaged: its content does not match its checksum; its images are prepared again" in caplog.text
    assert len(conversions) == COUNT
    assert file.read_bytes() == content
    conversions.clear()
    caplog.clear()
    assert torch.equal(pixels(folder), expected)
    assert not conversions
    assert not caplog.text


@pytest.mark.parametrize("damage", ["missing", "empty", "of other images"])
def test_images_without_a_valid_checksum_are_prepared_again(folder, cache, caplog, damage):
    expected = pixels(folder)
    file = prepared(cache)
    if damage == "missing":  # The process was killed before it wrote the checksum.
        checksums.beside(file).unlink()
    else:
        checksums.beside(file).write_text("" if damage == "empty" else f"{'0' * 64}  {file.name}\n")
    file.write_bytes(flipped(file.read_bytes()))
    with caplog.at_level(logging.WARNING, "auxar"):
        assert torch.equal(pixels(folder), expected)
    assert ("has no checksum" if damage == "missing" else "is damaged") in caplog.text
    assert checksums.problem(file) is None


@given(st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_changed_byte_is_noticed(tmp_path, data):
    content = data.draw(st.binary(min_size=1, max_size=100))
    (tmp_path / "made").write_bytes(content)
    file = tmp_path / "file"
    checksums.publish(tmp_path / "made", file)
    assert checksums.problem(file) is None
    place = data.draw(st.integers(0, len(content) - 1))
    changed = content[place] ^ data.draw(st.integers(1, 255))
    file.write_bytes(content[:place] + bytes([changed]) + content[place + 1 :])
    assert checksums.problem(file) is not None


def test_checksum_is_that_of_sha256sum(tmp_path):
    (tmp_path / "made").write_bytes(b"abc")
    checksums.publish(tmp_path / "made", tmp_path / "file")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  file\n"
    assert (tmp_path / "file.sha256").read_text() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "file.sha256"]


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


@pytest.mark.parametrize("renamed", [0, 1])
def test_preparation_that_is_killed_is_done_again(folder, cache, monkeypatch, renamed):
    expected = pixels(folder)
    content = prepared(cache).read_bytes()
    for file in cache.iterdir():
        file.unlink()
    replace = Path.replace
    done: list[Path] = []

    def killed(self: Path, target: Path) -> Path:
        if target.suffix != ".json":  # The note beside the lock is written first.
            if len(done) == renamed:
                raise KeyboardInterrupt
            done.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        # A killed process removes no files.
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            load(folder)
    assert list(cache.glob("*.part"))
    assert torch.equal(pixels(folder), expected)
    assert prepared(cache).read_bytes() == content
    assert not list(cache.glob("*.part"))


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise copy.copy(error)

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")
WRITES = {
    "creating a folder": "pathlib.Path.mkdir",
    "writing rows": "datasets.arrow_writer.ArrowWriter.write_table",
    "ending a file": "datasets.arrow_writer.ArrowWriter.finalize",
    "flushing": "os.fsync",
    "checksum": "tempfile.mkstemp",
    "moving": "shutil.move",
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("source", ["folder", "parquet"])
def test_full_disk_is_told_and_leaves_nothing(request, cache, monkeypatch, write, source):
    path: Path = request.getfixturevalue(source)
    with monkeypatch.context() as patch:
        patch.setattr(WRITES[write], failing(FULL))
        with pytest.raises(UserError) as caught:
            load(path)
    assert re.fullmatch(
        rf"{cache.parent}.* cannot be written: No space left on device; free disk space, or set the environment "
        "variable HF_DATASETS_CACHE to a folder on another file system",
        str(caught.value),
    )
    left = [file.name for file in cache.parent.rglob("*")]
    assert not [
        name for name in left if name.endswith((".part", ".incomplete", ".arrow.sha256")) or name.startswith("tmp")
    ]
    assert not list(cache.glob("*.arrow"))
    assert len(pixels(path)) == COUNT


@pytest.mark.parametrize("damage", ["no file", "damaged", "no checksum"])
def test_one_process_converts_and_the_others_wait(folder, cache, conversions, damage):
    expected = pixels(folder)
    if damage == "no file":
        prepared(cache).unlink()
    elif damage == "damaged":
        prepared(cache).write_bytes(b"")
    else:
        checksums.beside(prepared(cache)).unlink()
    conversions.clear()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(pixels, [folder] * 4):
            assert torch.equal(found, expected)
    assert set(conversions.values()) == {1}


@pytest.fixture
def read_only(monkeypatch) -> Iterator[Callable[[], object]]:
    """A function that makes the cache read-only, also for the administrator."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        yield lambda: [patch.setattr(target, refuse) for target in ("auxar.locks.filelock.FileLock", "os.fsync")]


def test_read_only_cache_is_verified_and_read(folder, cache, read_only):
    expected = pixels(folder)
    read_only()
    assert torch.equal(pixels(folder), expected)
    file = prepared(cache)
    damaged = flipped(file.read_bytes())
    file.write_bytes(damaged)
    with pytest.raises(UserError, match=r"cannot be written: Read-only file system; .*HF_DATASETS_CACHE"):
        load(folder)
    assert file.read_bytes() == damaged


def test_unreadable_cache_is_not_called_damaged(folder, cache, monkeypatch):
    load(folder)
    file = prepared(cache)
    open_file = Path.open

    def refused(self: Path, mode: str) -> IO[Any]:
        if self.name.startswith(file.name):
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_file(self, mode)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UserError, match=rf"{file} cannot be read: Permission denied"):
        load(folder)


@pytest.fixture
def parquet(tmp_path) -> Path:
    """A parquet file of images."""

    def encoded(number: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)).save(buffer, "bmp")
        return buffer.getvalue()

    types = datasets.Features({"image": datasets.Image()})
    rows = {"image": [{"bytes": encoded(number), "path": None} for number in range(COUNT)]}
    datasets.Dataset.from_dict(rows, features=types).to_parquet(tmp_path / "set.parquet")
    return tmp_path / "set.parquet"


def test_damaged_parquet_is_named(parquet):
    content = parquet.read_bytes()
    parquet.write_bytes(content[:4] + bytes(200) + content[204:])
    with pytest.raises(UserError, match=rf"{parquet} cannot be read as parquet"):
        load(parquet)
