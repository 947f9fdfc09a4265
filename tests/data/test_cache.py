"""Tests of cached images: damage, interruption, several processes, and folders that are read-only."""

from __future__ import annotations

import copy
import errno
import io
import logging
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from auxar.data import DataSets, StoredImages, checksums, copies, load_images
from auxar.data.conversion import Preparation
from auxar.data.source import open_source
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
    "creating the cache": ("os.makedirs", FULL),
    "creating a folder": ("pathlib.Path.mkdir", FULL),
    "writing rows": ("datasets.arrow_writer.ArrowWriter.write_table", FULL),
    "ending a file": ("datasets.arrow_writer.ArrowWriter.finalize", FULL),
    "quota": ("datasets.arrow_writer.ArrowWriter.finalize", OSError(errno.EDQUOT, "Disk quota exceeded")),
    "failing disk": ("datasets.arrow_writer.ArrowWriter.finalize", OSError(errno.EIO, "Input/output error")),
    "error without a number": (
        "datasets.arrow_writer.ArrowWriter.finalize",
        RuntimeError("Data processing error: No space left on device (os error 28)"),
    ),
    "flushing": ("os.fsync", FULL),
    "checksum": ("tempfile.mkstemp", FULL),
    "moving": ("shutil.move", FULL),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("source", ["folder", "parquet"])
def test_full_disk_is_told_and_leaves_nothing(request, cache, monkeypatch, write, source):
    path: Path = request.getfixturevalue(source)
    place, error = WRITES[write]
    with monkeypatch.context() as patch:
        patch.setattr(place, failing(error))
        with pytest.raises(UserError) as caught:
            load(path)
    reason = str(error.args[-1])
    assert re.fullmatch(
        rf"data: (prepared images|the copy of the data set) cannot be written to {cache.parent}(/auxar)?: "
        rf"{re.escape(reason)}; free disk space, or set the environment variable HF_DATASETS_CACHE to another folder",
        str(caught.value),
    )
    left = [file.name for file in cache.parent.rglob("*")]
    assert not [
        name for name in left if name.endswith((".part", ".incomplete", ".arrow.sha256")) or name.startswith("tmp")
    ]
    assert not list(cache.glob("*.arrow"))
    assert len(pixels(path)) == COUNT


def test_full_disk_for_downloads_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "hub" / "file"))

    def failing_load(*_: object, **__: object) -> None:
        raise datasets.exceptions.DatasetGenerationError("An error occurred") from full

    monkeypatch.setattr("auxar.data.hub.load", failing_load)
    monkeypatch.setattr("auxar.data.hub._reachable", lambda: True)
    with pytest.raises(UserError) as caught:
        load(Path("own/set"))
    problem = f"the copy of the data set 'own/set' cannot be written to {tmp_path}/hub: No space left on device"
    assert str(caught.value).startswith(f"data: {problem}; ")
    assert str(caught.value).endswith("HF_HUB_CACHE to another folder")


def test_full_disk_for_temporary_files_is_told(parquet, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(parquet.parent / "temporary"))
    error = OSError(errno.ENOSPC, "No space left on device", tempfile.tempdir + "/tmp1")
    monkeypatch.setattr(tempfile, "mkdtemp", failing(error))
    with pytest.raises(UserError, match=rf"temporary files cannot be written to {tempfile.tempdir}: .* TMPDIR to"):
        load(parquet.parent)


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
    with pytest.raises(
        UserError, match=r"cannot be written to .*Read-only file system, and .* is damaged.*HF_DATASETS"
    ):
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

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        with pytest.raises(UserError, match=rf"cannot be read from {file}: Permission denied; make the file readable"):
            load(folder)
    for path in (checksums.beside(file), file):
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(UserError, match=rf"cannot be read from {path}: Not a regular file"):
            load(folder)
        assert path.is_fifo()


def test_the_folder_of_a_preparation_replaces_a_link(folder, cache):
    load(folder)
    file = prepared(cache)
    file.unlink()
    (cache / "precious").mkdir()
    file.with_suffix(".part").symlink_to("precious")
    load(folder)
    assert (cache / "precious").is_dir()
    assert list(cache.glob("*.part")) == []


# --- copies of data sets ---------------------------------------------------------------------------------------------


@pytest.fixture
def parquet(tmp_path) -> Path:
    """A parquet file of BMP images, in which damage is not noticed when they are decoded."""

    def encoded(number: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)).save(buffer, "bmp")
        return buffer.getvalue()

    types = datasets.Features({"image": datasets.Image()})
    rows = {"image": [{"bytes": encoded(number), "path": None} for number in range(COUNT)]}
    datasets.Dataset.from_dict(rows, features=types).to_parquet(tmp_path / "set.parquet")
    return tmp_path / "set.parquet"


def copied(cache: Path) -> Path:
    (file,) = cache.parent.glob("parquet/**/*.arrow")
    return file


def one_byte_of_a_pixel(content: bytes) -> bytes:
    place = content.rindex(b"BM") + 60
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


@pytest.mark.parametrize("damage", ["one byte of a pixel", *DAMAGE])
def test_damaged_copies_are_generated_again(parquet, cache, caplog, damage):
    expected = pixels(parquet)
    file = copied(cache)
    content = file.read_bytes()
    file.write_bytes(DAMAGE.get(damage, one_byte_of_a_pixel)(content))
    shutil.rmtree(cache)
    with caplog.at_level(logging.WARNING, "auxar"):
        assert torch.equal(pixels(parquet), expected)
    assert "generated again" in caplog.text
    assert file.read_bytes() == content
    caplog.clear()
    assert torch.equal(pixels(parquet), expected)
    assert not caplog.text


@pytest.mark.parametrize("description", ["", "{}", "null", '{"splits": 3}', "{"])
def test_copies_with_a_damaged_description_are_generated_again(parquet, cache, caplog, description):
    expected = pixels(parquet)
    info = copied(cache).with_name("dataset_info.json")
    info.write_text(description)
    with caplog.at_level(logging.WARNING, "auxar"):
        assert torch.equal(pixels(parquet), expected)
    assert "generated again" in caplog.text
    assert info.stat().st_size > 100


def test_copies_without_a_checksum_are_used(parquet, cache, caplog):
    pixels(parquet)
    file = copied(cache)
    before = file.stat()
    checksums.beside(file).unlink()
    shutil.rmtree(cache)
    pixels(parquet)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert checksums.problem(file) is None
    assert not caplog.text


def test_copy_that_another_process_replaced_is_opened_again(parquet, cache):
    """Its path has the right content then, but this process still reads the damaged file."""
    pixels(parquet)
    file = copied(cache)
    file.write_bytes(one_byte_of_a_pixel(file.read_bytes()))
    first, second = (open_source(DataConfig(str(parquet))).copy for _ in range(2))
    assert first is not None
    assert second is not None
    with pytest.raises(copies.DamagedCopy, match="does not match its checksum"):
        first.verify()
    first.replace()
    with pytest.raises(copies.DamagedCopy, match="was replaced"):
        second.verify()
    new = file.stat().st_ino
    second.replace()
    assert file.stat().st_ino == new
    third = open_source(DataConfig(str(parquet)))
    assert third.copy is not None
    third.copy.verify()
    assert len(third.splits["train"]) == COUNT


def test_copy_that_cannot_be_generated_again_is_kept(parquet, cache, monkeypatch):
    pixels(parquet)
    file = copied(cache)
    damaged = one_byte_of_a_pixel(file.read_bytes())
    file.write_bytes(damaged)
    shutil.rmtree(cache)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("datasets.builder.ArrowBasedBuilder._prepare_split", full)
    with pytest.raises(UserError, match=r"is damaged.*it cannot be generated again: .*No space left"):
        load(parquet)
    assert file.read_bytes() == damaged


def test_damaged_parquet_is_not_blamed_on_a_copy(parquet, caplog):
    content = parquet.read_bytes()
    parquet.write_bytes(content[:4] + bytes(200) + content[204:])
    with pytest.raises(UserError, match="cannot be read as parquet"):
        load(parquet)
    assert not caplog.text


def test_intact_description_is_kept_if_opening_fails_once(parquet, cache, monkeypatch):
    pixels(parquet)
    info = copied(cache).with_name("dataset_info.json")
    content = info.read_bytes()
    build = datasets.load_dataset_builder
    failures = [ValueError("a passing failure")]

    def failing(*arguments: object, **options: object) -> object:
        if failures:
            raise failures.pop()
        return build(*arguments, **options)

    monkeypatch.setattr(datasets, "load_dataset_builder", failing)
    with pytest.raises(UserError, match="a passing failure"):
        load(parquet)
    assert info.read_bytes() == content
