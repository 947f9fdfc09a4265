"""Tests that an evaluation in shards equals that of one process to the last digit, and refuses wrong shards."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.causal_networks import SEEDS
from helpers.evaluations import figures_of
from helpers.tiny_runs import call, command, process_environment, run, snapshot, tiny, write_pictures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load

import auxar
from auxar.cli import main
from auxar.distributed.shards import Shard, as_shard
from auxar.errors import UserError
from auxar.evaluation.image_nats import Share, joined
from auxar.files import read_metadata, read_tensors, write_tensors
from auxar.runs.lock import holding

NAMES = ["cat", "dog", "owl"]
SOFTMAX = {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": "softmax"}
CONDITION = {"kind": "label", "suffix": ".txt", "names": NAMES, "drop": 0.2, "prior": SOFTMAX}
RESULTS = ("evaluation.safetensors", "evaluation-integer.safetensors")


@pytest.fixture(scope="module")
def labeled(tmp_path_factory) -> Path:
    """Images with labels in text files."""
    folder = write_pictures(tmp_path_factory.mktemp("data") / "pictures")
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        file.with_suffix(".txt").write_text(NAMES[number % 3])
    return folder


@pytest.fixture(scope="module")
def free(labeled, tmp_path_factory) -> Path:
    """A run with a free decoder, which was converted to integers."""
    path = run(tmp_path_factory.mktemp("free") / "run", tiny(labeled, sampling__images=0))
    auxar.integers(path, images=4)
    return path


@pytest.fixture(scope="module")
def conditional(labeled, tmp_path_factory) -> Path:
    """A run with a restricted decoder, of images with labels, which are modelled too."""
    table = tiny(labeled, sampling__images=0, condition=CONDITION, stage__0__support="restricted")
    return run(tmp_path_factory.mktemp("conditional") / "run", table)


@pytest.fixture(scope="module")
def streamed(labeled, tmp_path_factory) -> Path:
    """A run of streamed images, whose number is unknown."""
    table = tiny(labeled, sampling__images=0, data__streaming=True, evaluation={"train_images": 7})
    return run(tmp_path_factory.mktemp("streamed") / "run", table)


@pytest.fixture
def copied(free, tmp_path) -> Path:
    """A copy of the run with a free decoder, whose held-out images are evaluated in three batches."""
    return Path(shutil.copytree(free, tmp_path / "run"))


SETTINGS = ["evaluation.train_images=0", "evaluation.batch_size=2"]


def results(path: Path) -> dict[str, Any]:
    """The bytes of the tables, and the bytes and the metadata of the tensors, whose order in a file is random."""
    found: dict[str, Any] = {}
    for file in (path / name for name in RESULTS if (path / name).exists()):
        if file.suffix == ".json":
            found[file.name] = file.read_bytes()
        else:
            tensors, metadata = read_tensors(file)
            found[file.name] = metadata, {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    return found


def outside(path: Path) -> dict[str, tuple[int, bytes]]:
    return {name: content for name, content in snapshot(path).items() if not name.startswith("shards/")}


@pytest.mark.parametrize(
    ("kind", "count", "batch_size", "options"),
    [
        ("free", 1, 4, {}),
        ("free", 3, 2, {"arithmetic": "integer"}),
        ("free", 7, 3, {}),
        ("conditional", 2, 1, {}),
        ("conditional", 5, 4, {}),
        ("streamed", 3, 2, {}),
        ("streamed", 7, 4, {}),
    ],
)
def test_an_evaluation_in_shards_equals_the_whole(request, kind, count, batch_size, options):
    """Some have more shards than batches, and some fewer."""
    path = request.getfixturevalue(kind)
    options = {"settings": [f"evaluation.batch_size={batch_size}"], **options}
    for name in RESULTS:
        (path / name).unlink(missing_ok=True)
    auxar.evaluate(path, **options)
    expected = results(path)
    before = outside(path)
    for number in range(count, 0, -1):
        assert auxar.evaluate(path, shard=f"{number}/{count}", **options).path == path
    assert outside(path) == before, "shards change nothing in the folder of the run"
    for number in range(count):
        tensors, _ = read_tensors(path / "shards" / f"evaluation-{number + 1}-of-{count}.safetensors")
        for indices in (tensors[f"float/{name}/indices"] for name in ("heldout", "training")):
            assert all(int(index) // batch_size % count == number for index in indices), "each has its own batches"
    for name in expected:
        (path / name).unlink()
    auxar.evaluate(path, merge=count, **options)
    assert results(path) == expected
    assert len(expected) == (2 if "arithmetic" in options else 1)
    assert not (path / "shards").exists()
    table = figures_of(path)
    assert bool(table["without_condition"]) == bool(table["condition_figures"]) == (kind == "conditional")


@given(
    batches=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    shards=st.integers(1, 7),
    processes=st.lists(st.integers(1, 3), min_size=7, max_size=7),
    seed=SEEDS,
)
@settings(suppress_health_check=[HealthCheck.differing_executors])
def test_shards_with_any_numbers_of_processes_have_each_image_once(batches, shards, processes, seed):
    """The processes of shard i of n are the ranks i - 1, i - 1 + n, … of all processes."""
    torch.manual_seed(seed)
    size = 2
    count = size * len(batches) - 1
    values = torch.randn(count, 3, dtype=torch.float64)
    whole = Share(torch.arange(count), values, torch.ones(1, 2).long(), torch.randint(0, 256, (count, 32)).byte())
    parts = []
    for number in range(1, shards + 1):
        own = processes[number - 1]
        for rank in range(own):
            first, every = number - 1 + shards * rank, shards * own
            mine = torch.tensor([image for image in range(count) if image // size % every == first], dtype=torch.int64)
            known = whole.known * bool(len(mine))
            parts.append(Share(mine, values[mine], known, whole.hashes[mine]))
    found = joined(parts)
    assert torch.equal(found.indices, whole.indices)
    assert torch.equal(found.values, whole.values)
    assert torch.equal(found.known, whole.known)
    assert torch.equal(found.hashes, whole.hashes)


@pytest.mark.slow
def test_shards_work_at_the_same_time_and_with_several_processes(copied):
    """The run's folder is locked by another command, such as a training."""
    options = ["--set", "evaluation.batch_size=2"]
    auxar.evaluate(copied, settings=options[1:])
    expected = results(copied)
    with holding(copied):
        started = [
            subprocess.Popen(
                command("evaluate", copied, "--shard", f"{number}/2", *options, processes=number),
                env=process_environment(OMP_NUM_THREADS="1"),
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in (1, 2)
        ]
        for number, process in enumerate(started, 1):
            assert process.communicate(timeout=240)[0] == f"{copied}/shards/evaluation-{number}-of-2.safetensors\n"
    for name in expected:
        (copied / name).unlink()
    merged = call(command("evaluate", copied, "--merge", "2", *options), copied.parent)
    assert merged.returncode == 0, merged.stderr
    assert results(copied) == expected


def test_a_shard_that_is_done_is_kept_and_one_of_other_work_is_replaced(copied, caplog):
    caplog.set_level("INFO", "auxar")
    path = copied / "shards" / "evaluation-2-of-3.safetensors"
    auxar.evaluate(copied, shard="2/3", settings=SETTINGS)
    before = snapshot(copied)
    auxar.evaluate(copied, shard="2/3", settings=SETTINGS)
    assert snapshot(copied) == before
    assert f"the shard 2/3 is already done: {path}" in caplog.text
    auxar.evaluate(copied, shard="2/3", settings=[*SETTINGS, "evaluation.batch_size=3"])
    assert "evaluation.batch_size is 2 there, and 3 in this command; the shard 2/3 is computed again" in caplog.text
    assert outside(copied) == {name: content for name, content in before.items() if not name.startswith("shards/")}
    path.write_bytes(path.read_bytes()[:-1])
    auxar.evaluate(copied, shard="2/3", settings=SETTINGS)
    assert "is damaged: " in caplog.text
    again = read_tensors(path)[0]
    assert all(torch.equal(again[name], tensor) for name, tensor in load(before[f"shards/{path.name}"][1]).items())


def test_two_commands_cannot_compute_the_same_shard(copied):
    with holding(copied / "shards", ".evaluation-2-of-3.lock"):
        with pytest.raises(UserError, match=f"the shard 2/3 in {copied / 'shards'} is in use by process"):
            auxar.evaluate(copied, shard="2/3", settings=SETTINGS)
        auxar.evaluate(copied, shard="1/3", settings=SETTINGS)


def test_another_file_is_not_replaced_by_a_shard(copied):
    path = copied / "shards" / "evaluation-1-of-1.safetensors"
    write_tensors(path, {"mine": torch.zeros(2)}, {})
    content = path.read_bytes()
    with pytest.raises(UserError, match="is not the result of a shard; move it to another folder"):
        auxar.evaluate(copied, shard="1/1", settings=SETTINGS)
    assert path.read_bytes() == content


def missing(folder: Path) -> None:
    (folder / "evaluation-2-of-3.safetensors").unlink()


def damaged(folder: Path) -> None:
    path = folder / "evaluation-2-of-3.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def copy_of_another(folder: Path) -> None:
    shutil.copy(folder / "evaluation-1-of-3.safetensors", folder / "evaluation-2-of-3.safetensors")


def other_settings(folder: Path) -> None:
    (folder / "evaluation-2-of-3.safetensors").unlink()
    auxar.evaluate(folder.parent, shard="2/3", settings=[*SETTINGS, "evaluation.heldout_images=5"])


def other_weights(folder: Path) -> None:
    path = auxar.RunFolder(folder.parent).weights("prior")
    tensors, metadata = read_tensors(path)
    write_tensors(path, {name: tensor * 1.5 for name, tensor in tensors.items()}, metadata)


def image_twice(folder: Path) -> None:
    path = folder / "evaluation-2-of-3.safetensors"
    tensors, metadata = read_tensors(path)
    tensors["float/heldout/indices"] = tensors["float/heldout/indices"] - 1
    write_tensors(path, tensors, metadata)


def other_shape(folder: Path) -> None:
    path = folder / "evaluation-2-of-3.safetensors"
    tensors, metadata = read_tensors(path)
    tensors["float/heldout/values"] = tensors["float/heldout/values"][:, 1:].contiguous()
    write_tensors(path, tensors, metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (missing, "1 of 3 shards are missing: 2/3; make them with `auxar evaluate RUN --shard 2/3`, once for each"),
        (damaged, "is damaged: its content does not match its checksum; make it again with `auxar evaluate RUN"),
        (copy_of_another, "is the result of the shard 1/3; expected that of the shard 2/3; make it again with"),
        (other_settings, "belongs to other work: evaluation.heldout_images is 5 there, and "),
        (other_weights, "evaluation-1-of-3.safetensors belongs to other work: the checksum of prior's weights is"),
        (image_twice, "the shards do not have each of the heldout images exactly once"),
        (other_shape, "is damaged: it does not have the values of the heldout images (float)"),
    ],
)
def test_wrong_shards_are_refused_and_nothing_is_changed(copied, change, message):
    for number in (1, 2, 3):
        auxar.evaluate(copied, shard=f"{number}/3", settings=SETTINGS)
    change(copied / "shards")
    before = snapshot(copied)
    with pytest.raises(UserError) as error:
        auxar.evaluate(copied, merge=3, settings=SETTINGS)
    assert message.replace("RUN", str(copied)) in str(error.value)
    assert snapshot(copied) == before


def test_shards_of_a_moved_run_can_be_merged(copied):
    """Machines may see the shared folder under different paths."""
    for number in (1, 2):
        auxar.evaluate(copied, shard=f"{number}/2", settings=SETTINGS)
    moved = copied.rename(copied.with_name("moved"))
    auxar.evaluate(moved, merge=2, settings=SETTINGS)
    assert "data" not in read_metadata(moved / "evaluation.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "8/7"], "--shard: expected a number of a shard and the number of shards, such as 2/7, got '8/7'"),
        (["--shard", "0/7"], "--shard: expected a number of a shard and the number of shards, such as 2/7, got '0/7'"),
        (["--shard", "2"], "--shard: expected a number of a shard and the number of shards, such as 2/7, got '2'"),
        (["--merge", "0"], "--merge: expected an integer from 1 to 100,000, got 0 (int)"),
        (["--shard", "1/2", "--merge", "2"], "--shard: this cannot be combined with merge; shards are merged when all"),
    ],
)
def test_mistakes_in_options(free, capsys, options, message):
    before = snapshot(free)
    assert main(["evaluate", str(free), *options]) == 2
    assert f"auxar: {message}" in capsys.readouterr().err
    assert snapshot(free) == before


@pytest.mark.parametrize("value", [2, "2/7 ", "-1/7", "1/100001", None])
def test_shards_are_named_by_text(value):
    with pytest.raises(UserError, match="shard: expected a number of a shard"):
        as_shard(value)
    assert as_shard("2/7") == as_shard(Shard(2, 7)) == Shard(2, 7)
