"""Tests that training can continue after damaged checkpoints, full disks and read-only folders."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import call, command, metrics, run, same, snapshot, stopping_after, tiny, weights, write
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from auxar.commands.run import run as run_recipe
from auxar.errors import UserError
from auxar.files import DamagedFile, read_tensors, write_tensors

CHANGES = {
    "training__steps": 7,
    "training__checkpoint_every": 2,
    "training__keep_checkpoints": 3,
    "sampling__images": 0,
}


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    return run(tmp_path_factory.mktemp("whole") / "run", tiny(pictures, **CHANGES))


@pytest.fixture
def stopped(whole, tmp_path) -> Path:
    """A copy of `whole` in the state of a run that stopped after step 4 of the prior."""
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    folder = tmp_path / "run" / "factors"
    shutil.rmtree(folder / "stage0")
    for name in ("weights", "training-000000007", "training-000000006"):
        (folder / "prior" / f"{name}.safetensors").unlink(missing_ok=True)
    return tmp_path / "run"


def states(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("factors/prior/training*"))


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


# Damage


def test_a_flipped_bit_is_found_and_the_checkpoint_before_is_used(pictures, whole, tmp_path, stopped, caplog):
    newest = stopped / "factors" / "prior" / "training-000000004.safetensors"
    before = newest.with_name("training-000000002.safetensors")
    shutil.copy(newest, before)  # `keep_checkpoints` may have removed it.
    tensors, metadata = read_tensors(newest)
    write_tensors(before, tensors, metadata)
    flip(newest, newest.stat().st_size - 5)
    run(stopped, tiny(pictures, **CHANGES))
    assert states(whole) == [f"training-{step:09d}.safetensors" for step in (4, 6, 7)]
    assert f"{newest} is damaged: its content does not match its checksum" in caplog.text
    assert f"training continues from {before}" in caplog.text
    assert same(weights(stopped), weights(whole))
    assert same(weights(stopped, "training"), weights(whole, "training"))
    assert metrics(stopped) == metrics(whole)


def rewritten(change: Callable[[dict[str, Tensor], dict[str, str]], object]) -> Callable[[Path], object]:
    """Changes the tensors and the metadata of a checkpoint."""

    def damage(file: Path) -> None:
        tensors, metadata = read_tensors(file)
        change(tensors, metadata)
        write_tensors(file, tensors, metadata)

    return damage


def at_step(found: str) -> Callable[[Path], object]:
    return rewritten(
        lambda _, metadata: metadata.update(progress=metadata["progress"].replace('"step": 4', f'"step": {found}', 1))
    )


def no_entry(name: str) -> Callable[[Path], object]:
    return rewritten(lambda _, metadata: metadata.pop(name))


DAMAGE = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "no checksum": lambda file: save_file(read_tensors(file)[0], file),
    "no step": at_step("null"),
    **{f"no {name}": no_entry(name) for name in ("progress", "optimizer", "images", "compiled", "history", "versions")},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_without_another_a_damaged_checkpoint_is_named(pictures, stopped, damage):
    file = stopped / "factors" / "prior" / "training-000000004.safetensors"
    damage(file)
    before = snapshot(stopped / "factors")
    with pytest.raises(UserError) as caught:
        run(stopped, tiny(pictures, **CHANGES))
    assert str(caught.value).startswith(f"{file} is damaged: ")
    advice = f"; there is no earlier checkpoint; delete {file.parent} to train this factor from the start"
    assert str(caught.value).endswith(advice)
    assert snapshot(stopped / "factors") == before


def test_a_checkpoint_of_another_factor_is_no_damage(pictures, whole, stopped):
    file = stopped / "factors" / "prior" / "training-000000004.safetensors"
    shutil.copy(whole / "factors" / "stage0" / "training-000000006.safetensors", file)
    with pytest.raises(UserError, match="does not belong to factor prior of this recipe"):
        run(stopped, tiny(pictures, **CHANGES))


def test_weights_are_made_again_from_the_last_checkpoint(pictures, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    file = tmp_path / "run" / "factors" / "prior" / "weights.safetensors"
    flip(file, file.stat().st_size - 5)
    table = tiny(pictures, **CHANGES, evaluation={"train_images": 1})
    with pytest.raises(UserError, match=r"is damaged: .* delete this file, and `auxar run` writes it again from"):
        run(tmp_path / "run", table)
    file.unlink()
    run(tmp_path / "run", table)
    assert same(weights(tmp_path / "run"), weights(whole))
    assert metrics(tmp_path / "run") == metrics(whole)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.text(max_size=5), st.lists(st.integers(0, 3), max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b", "é"]), st.text(max_size=5), max_size=2),
    st.data(),
)
def test_any_flipped_bit_of_a_tensor_is_found(tmp_path_factory, shapes, metadata, data):
    file = tmp_path_factory.mktemp("tensors") / "file.safetensors"
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    write_tensors(file, tensors, metadata)
    read, facts = read_tensors(file)
    assert facts == metadata
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    content = bytearray(file.read_bytes())
    body = 8 + int.from_bytes(content[:8], "little")
    if body < len(content):
        content[data.draw(st.integers(body, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
        with pytest.raises(DamagedFile, match="checksum"):
            read_tensors(file)


def test_metadata_has_a_part_in_the_checksum(tmp_path):
    write_tensors(tmp_path / "file", {"a": torch.ones(2)}, {"step": "4"})
    content = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(content.replace(b'"step":"4"', b'"step":"5"'))
    with pytest.raises(DamagedFile, match="checksum"):
        read_tensors(tmp_path / "file")
    (tmp_path / "file").write_bytes(content)
    assert read_tensors(tmp_path / "file")[1] == {"step": "4"}


# Metrics


def test_metrics_of_steps_that_are_done_again_are_taken_back(pictures, whole, stopped):
    file = stopped / "factors" / "prior" / "metrics.jsonl"
    lines = file.read_text().splitlines()
    assert len(lines) == 7
    # Simulate a process that was killed after its last checkpoint while it wrote a line.
    file.write_text("\n".join([*lines[:6], lines[6][:20]]))
    run(stopped, tiny(pictures, **CHANGES))
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3, 4, 5, 6, 7]
    assert metrics(stopped) == metrics(whole)


# Disks


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Mounts a small separate file system."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_is_told_and_training_goes_on_once_there_is_room(pictures, whole, tmp_path):
    recipe = write(tmp_path / "run.toml", tiny(pictures, **CHANGES))
    room = sum(len(content) for _, content in snapshot(whole / "factors" / "prior").values()) * 3 // 4
    with mounted(tmp_path / "disk", f"{room // 1024}k") as disk:
        done = call(command("run", recipe, "--out", disk / "run"), tmp_path)
        assert done.returncode == 2
        message = done.stderr.splitlines()[-1]
        assert message.startswith(f"auxar: {disk / 'run' / 'factors' / 'prior'}/")
        assert "cannot be written: " in message
        assert "No space left on device" in message
        assert "Traceback" not in done.stderr
        left = states(disk / "run")
        assert left, "the disk was full before there was a checkpoint"
        for file in (disk / "run").glob("factors/*/*.safetensors"):
            read_tensors(file)
        assert not [path for path in (disk / "run").rglob("*") if path.name.endswith(".part")]
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        run_recipe(recipe, out=disk / "run")
        assert same(weights(disk / "run"), weights(whole))
        assert metrics(disk / "run") == metrics(whole)


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(pictures, stopped):
    (stopped / "factors" / "prior" / "training-000000006.safetensors").write_bytes(b"damaged")
    with stopping_after(1):
        run(stopped, tiny(pictures, **{**CHANGES, "training__checkpoint_every": 1, "training__keep_checkpoints": 2}))
    assert states(stopped) == ["training-000000004.safetensors", "training-000000005.safetensors"]
