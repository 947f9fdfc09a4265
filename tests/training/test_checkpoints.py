"""Tests that training can continue after damaged checkpoints, full disks and read-only folders."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.evaluations import with_metadata
from helpers.tiny_runs import assert_same_training, run, said, snapshot, stopping_after, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from auxar.errors import UserError
from auxar.files import DamagedFile, read_checksum, read_tensors, write_tensors

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
    # The process was killed while it wrote a line of metrics.
    metrics = folder / "prior" / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-20])
    return tmp_path / "run"


def states(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("factors/prior/training*"))


# Damage


def test_a_flipped_bit_is_found_and_the_checkpoint_before_is_used(pictures, whole, tmp_path, stopped, caplog):
    newest = stopped / "factors" / "prior" / "training-000000004.safetensors"
    before = newest.with_name("training-000000002.safetensors")
    shutil.copy(newest, before)  # `keep_checkpoints` may have removed it.
    tensors, metadata = read_tensors(newest)
    write_tensors(before, tensors, metadata)
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    run(stopped, tiny(pictures, **CHANGES))
    assert states(whole) == [f"training-{step:09d}.safetensors" for step in (4, 6, 7)]
    assert f"{newest} is damaged: its content does not match its checksum" in caplog.text
    assert f"training continues from {before}" in caplog.text
    assert_same_training(stopped, whole)


def without_step(file: Path) -> None:
    with_metadata(file, progress=read_tensors(file)[1]["progress"].replace('"step": 4', '"step": null', 1))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "no checksum": lambda file: save_file(read_tensors(file)[0], file),
    "no step": without_step,
    **{
        f"no {name}": functools.partial(with_metadata, **{name: None})
        for name in ("progress", "optimizer", "images", "compiled", "history", "versions")
    },
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_without_another_a_damaged_checkpoint_is_named(pictures, stopped, damage):
    file = stopped / "factors" / "prior" / "training-000000004.safetensors"
    damage(file)
    before = snapshot(stopped / "factors")
    message = said(run, stopped, tiny(pictures, **CHANGES))
    assert message.startswith(f"{file} is damaged: ")
    advice = f"; there is no earlier checkpoint; delete {file.parent} to train this factor from the start"
    assert message.endswith(advice)
    assert snapshot(stopped / "factors") == before


def test_a_checkpoint_of_another_factor_is_no_damage(pictures, whole, stopped):
    file = stopped / "factors" / "prior" / "training-000000004.safetensors"
    shutil.copy(whole / "factors" / "stage0" / "training-000000006.safetensors", file)
    with pytest.raises(UserError, match="does not belong to factor prior of this recipe"):
        run(stopped, tiny(pictures, **CHANGES))


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
    write_tensors(file.with_name("other"), tensors, {**metadata, "c": ""})
    assert read_checksum(file) != read_checksum(file.with_name("other")), "metadata has a part in it"
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


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(pictures, stopped):
    (stopped / "factors" / "prior" / "training-000000006.safetensors").write_bytes(b"damaged")
    with stopping_after(1):
        run(stopped, tiny(pictures, **{**CHANGES, "training__checkpoint_every": 1, "training__keep_checkpoints": 2}))
    assert states(stopped) == ["training-000000004.safetensors", "training-000000005.safetensors"]
