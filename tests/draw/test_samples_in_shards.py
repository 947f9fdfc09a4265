"""Tests that images drawn in shards equal those of one call byte for byte, and that wrong shards are refused."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import call, command, process_environment, run, snapshot, tiny, write_pictures
from hypothesis import given
from hypothesis import strategies as st

import auxar
from auxar.cli import main
from auxar.distributed.shards import Shard
from auxar.draw.sample_folder import MARK
from auxar.draw.sample_shards import numbers_of
from auxar.errors import UserError
from auxar.files import read_tensors, write_tensors

NAMES = ["cat", "dog", "owl"]


@pytest.fixture(scope="module")
def labeled(tmp_path_factory) -> Path:
    """Images with labels in text files."""
    folder = write_pictures(tmp_path_factory.mktemp("data") / "pictures")
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        file.with_suffix(".txt").write_text(NAMES[number % 3])
    return folder


@pytest.fixture(scope="module")
def plain(labeled, tmp_path_factory) -> Path:
    """A run with two views, which was converted to integers."""
    path = run(tmp_path_factory.mktemp("plain") / "run", tiny(labeled, stage__0__repeat=2, sampling__images=0))
    auxar.integers(path, images=4)
    return path


@pytest.fixture(scope="module")
def conditional(labeled, tmp_path_factory) -> Path:
    """A run of images with labels, which are modelled too."""
    prior = {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": "softmax"}
    condition = {"kind": "label", "suffix": ".txt", "names": NAMES, "drop": 0.2, "prior": prior}
    table = tiny(labeled, condition=condition, sampling__images=0)
    return run(tmp_path_factory.mktemp("conditional") / "run", table)


def contents(folder: Path) -> dict[str, Any]:
    """The bytes of the files in a folder, but for locks, and the record without its duration."""
    found: dict[str, Any] = {name: content for name, (_, content) in snapshot(folder).items()}
    record = json.loads(found.pop("samples.json"))
    assert record.pop("seconds") > 0
    return {**found, "record": record}


def sizes_of(images: int, batch_size: int = 16, **_: Any) -> tuple[int, int]:
    return images, batch_size


@pytest.mark.parametrize(
    ("kind", "count", "options"),
    [
        ("plain", 1, {"images": 3}),
        ("plain", 2, {"images": 11, "batch_size": 3, "seed": 5, "rule": "map"}),
        ("plain", 3, {"images": 8, "batch_size": 2, "arithmetic": "integer"}),
        ("plain", 7, {"images": 5, "batch_size": 2}),
        ("conditional", 3, {"images": 9, "batch_size": 2}),
        ("conditional", 2, {"images": 4, "batch_size": 2, "condition": ["dog", None]}),
        ("conditional", 2, {"images": 5, "batch_size": 3, "condition": "drawn"}),
    ],
)
def test_images_of_shards_equal_those_of_one_call(request, tmp_path, monkeypatch, kind, count, options):
    """Some have more shards than batches. The sheet shows the first seven images, which end within a batch."""
    monkeypatch.setattr("auxar.draw.samples.SHEET_IMAGES", 7)
    path = request.getfixturevalue(kind)
    before = snapshot(path)
    whole = auxar.sample(path, out=tmp_path / "whole", **options)
    for number in range(count, 0, -1):
        assert auxar.sample(path, out=tmp_path / "parts", shard=f"{number}/{count}", **options) == tmp_path / "parts"
        assert not (tmp_path / "parts" / "samples.json").exists()
        done = sum(len(numbers_of(Shard(each, count), *sizes_of(**options))) for each in range(number, count + 1))
        assert len(list((tmp_path / "parts" / "images").glob("*"))) == done, "each draws its own images"
    merged = auxar.sample(path, out=tmp_path / "parts", merge=count, **options)
    assert contents(merged) == contents(whole)
    assert not (merged / ".shards").exists()
    assert (merged / "growth.png").exists()
    assert snapshot(path) == before


@given(images=st.integers(1, 10**9), batch_size=st.integers(1, 50), count=st.integers(1, 40))
def test_shards_have_all_images_in_the_batches_of_one_call(images, batch_size, count):
    parts = [numbers_of(Shard(number, count), images, batch_size) for number in range(1, count + 1)]
    assert all(part.start % batch_size == 0 for part in parts)
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])] or not len(parts[-1])
    assert sum(map(len, parts)) == images
    covered = [part for part in parts if len(part)]
    assert covered[0].start == 0
    assert covered[-1].stop == images
    assert all(first.stop == second.start for first, second in itertools.pairwise(covered))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) < 2 * batch_size


@pytest.mark.slow
def test_shards_draw_at_the_same_time_and_with_several_processes(plain, tmp_path):
    options = ["-n", "12", "--batch-size", "2", "--arithmetic", "integer"]
    whole = auxar.sample(plain, images=12, batch_size=2, arithmetic="integer", out=tmp_path / "whole")
    parts = tmp_path / "parts"
    started = [
        subprocess.Popen(
            command("sample", plain, "--shard", f"{number}/3", "--out", parts, *options, processes=1 + number // 3),
            env=process_environment(OMP_NUM_THREADS="1"),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2, 3)
    ]
    for process in started:
        assert process.communicate(timeout=240)[0] == f"{parts}\n"
    merged = call(command("sample", plain, "--merge", "3", "--out", parts, *options), tmp_path)
    assert merged.returncode == 0, merged.stderr
    found, expected = contents(parts), contents(whole)
    # Bits/dim are sums in float32, whose last digits depend on the batches of the processes.
    bits = found["record"].pop("bits_per_dim"), expected["record"].pop("bits_per_dim")
    assert bits[0] == pytest.approx(bits[1], rel=1e-5)
    assert found == expected


OPTIONS: dict[str, Any] = {"images": 4, "batch_size": 2}


@pytest.fixture(scope="module")
def drawn(plain, tmp_path_factory) -> Path:
    """A folder of two shards that are not merged."""
    out = tmp_path_factory.mktemp("drawn") / "out"
    for number in (1, 2):
        auxar.sample(plain, out=out, shard=f"{number}/2", **OPTIONS)
    return out


@pytest.fixture
def parts(drawn, tmp_path) -> Path:
    """A copy of a folder of two shards that are not merged."""
    return Path(shutil.copytree(drawn, tmp_path / "out"))


@pytest.mark.parametrize("change", [lambda picture: picture[:20], lambda _: b"", None])
def test_a_shard_that_is_done_is_kept_unless_a_picture_is_missing_or_damaged(plain, parts, caplog, change):
    caplog.set_level("INFO", "auxar")
    before = snapshot(parts)
    auxar.sample(plain, out=parts, shard="2/2", **OPTIONS)
    assert snapshot(parts) == before
    assert "the shard 2/2 is already done" in caplog.text
    path = parts / "images" / "000003.png"
    path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
    auxar.sample(plain, out=parts, shard="2/2", **OPTIONS)
    assert "the shard 2/2 is drawn again" in caplog.text
    assert (parts / "images" / "000003.png").read_bytes() == before["images/000003.png"][1]


def missing(out: Path) -> None:
    (out / ".shards" / "samples-2-of-2.safetensors").unlink()


def damaged(out: Path) -> None:
    path = out / ".shards" / "samples-1-of-2.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


def without_views(out: Path) -> None:
    path = out / ".shards" / "samples-1-of-2.safetensors"
    tensors, metadata = read_tensors(path)
    del tensors["view1"]
    write_tensors(path, tensors, metadata)


def copy_of_another(out: Path) -> None:
    folder = out / ".shards"
    shutil.copy(folder / "samples-1-of-2.safetensors", folder / "samples-2-of-2.safetensors")


def without_a_picture(out: Path) -> None:
    (out / "images" / "000002.png").unlink()


def cut_picture(out: Path) -> None:
    path = out / "images" / "000001.png"
    path.write_bytes(path.read_bytes()[:20])


def empty_picture(out: Path) -> None:
    (out / "images" / "000001.png").write_bytes(b"")


def picture_of_another_image(out: Path) -> None:
    shutil.copy(out / "images" / "000000.png", out / "images" / "000001.png")


def another_picture(out: Path) -> None:
    (out / "images" / "000007.png").touch()


def file_of_a_user(out: Path) -> None:
    (out / "notes.txt").touch()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (missing, {}, "1 of 2 shards are missing: 2/2; make them with `auxar sample RUN --shard 2/2`, once for each"),
        (damaged, {}, "make it again with `auxar sample RUN --shard 1/2`"),
        (without_views, {}, "samples-1-of-2.safetensors is damaged: it does not have view1 of the first images"),
        (copy_of_another, {}, "is the result of the shard 1/2; expected that of the shard 2/2; make it again"),
        (without_a_picture, {}, "000002.png is missing; draw it again with `auxar sample RUN --shard 2/2`"),
        (cut_picture, {}, "000001.png is damaged, or another picture than the one that was drawn; draw it again with"),
        (empty_picture, {}, "000001.png is damaged, or another picture"),
        (
            picture_of_another_image,
            {},
            "than the one that was drawn; draw it again with `auxar sample RUN --shard 1/2`",
        ),
        (another_picture, {}, "000007.png is not one of the 4 pictures; remove it"),
        (file_of_a_user, {}, "notes.txt is not a sample of an earlier call"),
        (None, {"seed": 1}, "samples-1-of-2.safetensors belongs to other work: sampling.seed is 0 there, and 1 in"),
        (None, {"images": 3}, "samples-1-of-2.safetensors belongs to other work: sampling.images is 4 there, and 3"),
        (None, {"arithmetic": "integer"}, "samples-1-of-2.safetensors belongs to other work: "),
    ],
)
def test_wrong_shards_are_refused_and_nothing_is_changed(plain, parts, change, options, message):
    if change is not None:
        change(parts)
    before = snapshot(parts)
    with pytest.raises(UserError) as error:
        auxar.sample(plain, out=parts, merge=2, **{**OPTIONS, **options})
    assert message.replace("RUN", str(plain)) in str(error.value)
    assert snapshot(parts) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "holds shards of drawn images that are not merged"),
        ({"shard": "1/2", "seed": 1}, "holds shards of other images: sampling.seed is 0 there, and 1 in this command"),
        ({"shard": "1/2", "images": 5}, "sampling.images is 4 there, and 5 in this command"),
        ({"shard": "3/4"}, "the number of shards is 2 there, and 4 in this command"),
    ],
)
def test_other_samples_do_not_replace_shards_that_are_not_merged(plain, parts, options, message):
    before = snapshot(parts)
    with pytest.raises(UserError, match=f"{message}; merge them with --merge, choose another folder"):
        auxar.sample(plain, out=parts, **{**OPTIONS, **options})
    assert snapshot(parts) == before


def test_shards_with_other_conditions_are_refused(conditional, tmp_path):
    out = auxar.sample(conditional, out=tmp_path / "out", shard="1/2", condition="dog", **OPTIONS)
    before = snapshot(out)
    with pytest.raises(UserError, match=r"holds shards of other images: the conditions is .* there, and .* in this"):
        auxar.sample(conditional, out=out, shard="2/2", condition="cat", **OPTIONS)
    assert snapshot(out) == before


def test_shards_do_not_replace_earlier_samples_or_files_of_a_user(plain, tmp_path):
    out = auxar.sample(plain, images=1, out=tmp_path / "out")
    before = snapshot(out)
    with pytest.raises(UserError, match="holds samples of another call; choose another folder with --out"):
        auxar.sample(plain, out=out, shard="1/2", **OPTIONS)
    assert snapshot(out) == before
    (tmp_path / "user" / "images").mkdir(parents=True)
    (tmp_path / "user" / "images" / "000000.png").touch()
    with pytest.raises(UserError, match=r"000000.png is not a sample of an earlier call"):
        auxar.sample(plain, out=tmp_path / "user", shard="1/2", **OPTIONS)
    assert [path.name for path in (tmp_path / "user").rglob("*")] == ["images", "000000.png"]


def test_nothing_is_marked_if_no_image_can_be_drawn(plain, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise UserError("engine")

    with monkeypatch.context() as patch:
        patch.setattr("auxar.draw.drawing._draw", fail)
        with pytest.raises(UserError, match="engine"):
            auxar.sample(plain, out=tmp_path / "out", shard="1/2", **OPTIONS)
    assert not (tmp_path / "out" / MARK).exists()
    auxar.sample(plain, out=tmp_path / "out", **OPTIONS)


def test_shards_in_the_default_folder(labeled, plain, tmp_path, capsys):
    path = Path(shutil.copytree(plain, tmp_path / "run"))
    for options in (["--shard", "1/2"], ["--shard", "2/2"], ["--merge", "2"]):
        assert main(["sample", str(path), "-n", "2", "--batch-size", "1", *options]) == 0
        assert capsys.readouterr().out == f"{path / 'samples' / 'ancestral-seed0'}\n"
    assert len(list((path / "samples" / "ancestral-seed0" / "images").iterdir())) == 2
    picture = str(labeled / "000.png")
    assert main(["sample", str(path), "--given", picture, "--shard", "1/2"]) == 2
    assert "shards of images cannot be drawn from given images; leave out --shard and" in capsys.readouterr().err
