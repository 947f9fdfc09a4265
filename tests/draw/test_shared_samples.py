"""Tests that processes which draw the same images share them, and that others are not replaced unasked."""

import functools
import itertools
import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.killing import REPETITIONS, outputs_of_killed
from helpers.tiny_runs import NAMES, arrays_of, calls_of, command, run, snapshot, stopping_at, tiny, write_labeled
from hypothesis import given
from hypothesis import strategies as st

import auxar
from auxar.draw import samples
from auxar.draw.samples import MARK, check_samples
from auxar.errors import UserError


@pytest.fixture(scope="module")
def labeled(tmp_path_factory) -> Path:
    """Images with labels in text files."""
    return write_labeled(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def plain(labeled, tmp_path_factory) -> Path:
    """A run with two views, which was converted to integers."""
    path = run(tmp_path_factory.mktemp("plain") / "run", tiny(labeled, stage__0__repeat=2, sampling__images=0))
    auxar.integers(path, images=4)
    return path


@pytest.fixture(scope="module")
def conditional(labeled, tmp_path_factory) -> Path:
    """A run of images with labels, which are modeled too."""
    prior = {"name": "pixelcnn", "filters": 3, "blocks": 1, "head": "softmax"}
    condition = {"kind": "label", "suffix": ".txt", "names": NAMES, "drop": 0.2, "prior": prior}
    table = tiny(labeled, condition=condition, sampling__images=0)
    return run(tmp_path_factory.mktemp("conditional") / "run", table)


def contents(folder: Path) -> dict[str, Any]:
    """The bytes of the files in a folder, but for locks, and the record without its duration and its key."""
    found: dict[str, Any] = {name: content for name, (_, content) in snapshot(folder).items()}
    found.pop("draws.npz", None)
    record = json.loads(found.pop("samples.json"))
    assert record.pop("seconds") > 0
    assert len(record.pop("key")) == 32
    return {**found, "record": record}


slow = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("plain", {"images": 11, "batch_size": 3, "seed": 5, "rule": "map"}),
        slow("plain", {"images": 2, "given": ["000.png", "001.png", "002.png"], "stage": 1}),
        slow("conditional", {"images": 9, "batch_size": 2}),
        slow("conditional", {"images": 5, "batch_size": 3, "condition": "drawn"}),
    ],
)
def test_a_stopped_command_goes_on_and_gives_the_files_of_one_call(
    request, labeled, tmp_path, monkeypatch, kind, options
):
    """The sheet shows the first seven images, which end within a chunk."""
    monkeypatch.setattr(samples, "SHEET_IMAGES", 7)
    path = request.getfixturevalue(kind)
    options = {**options, **({"given": [labeled / name for name in options["given"]]} if "given" in options else {})}
    before = snapshot(path)
    whole = auxar.sample(path, out=tmp_path / "whole", **options)
    monkeypatch.setattr(samples, "CHUNK", 2)
    for _ in range(2):
        with stopping_at(samples.Samples, "compute", 2):
            auxar.sample(path, out=tmp_path / "parts", **options)
        assert not (tmp_path / "parts" / "samples.json").exists()
    with calls_of(samples.Samples, "compute") as numbers:
        assert auxar.sample(path, out=tmp_path / "parts", **options) == tmp_path / "parts"
    assert numbers == [*range(2, 2 + len(numbers))], "no chunk is drawn twice"
    assert contents(tmp_path / "parts") == contents(whole)
    if "given" in options:
        arrays, others = arrays_of(tmp_path / "parts"), arrays_of(whole)
        assert arrays.keys() == others.keys()
        # Log-likelihoods are rounded differently in other batches.
        assert all(np.allclose(arrays[name], others[name], rtol=1e-5) for name in arrays)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "parts"}
    stamps = snapshot(tmp_path / "parts")
    auxar.sample(path, out=tmp_path / "parts", **options)
    assert snapshot(tmp_path / "parts") == stamps, "the images are there already"
    assert snapshot(path) == before


@given(count=st.integers(1, 10**9))
def test_chunks_have_all_images_once(count):
    parts = samples.chunks_of(count)
    assert len(parts) <= samples.MOST_CHUNKS
    assert (parts[0].start, parts[-1].stop) == (0, count)
    assert all(first.stop == second.start for first, second in itertools.pairwise(parts))
    assert all(len(parts[0]) >= len(part) > 0 for part in parts)


@pytest.mark.parametrize("change", [None, b"\x89PNG"])
def test_a_picture_that_is_missing_or_damaged_is_drawn_again(plain, tmp_path, monkeypatch, caplog, change):
    monkeypatch.setattr(samples, "CHUNK", 2)
    whole = auxar.sample(plain, images=4, out=tmp_path / "whole")
    with stopping_at(samples, "write_sheets", 1):
        auxar.sample(plain, images=4, out=tmp_path / "parts")
    picture = tmp_path / "parts" / "images" / "000003.png"
    picture.unlink() if change is None else picture.write_bytes(change)
    auxar.sample(plain, images=4, out=tmp_path / "parts")
    assert f"{picture} is missing, damaged, or another picture than the one that was drawn" in caplog.text
    assert contents(tmp_path / "parts") == contents(whole)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("options", [{"seed": 1}, {"images": 3}, {"rule": "map"}, {"arithmetic": "integer"}])
def test_images_of_other_options_are_replaced_only_if_asked(plain, tmp_path, options, finished):
    out = tmp_path / "out"
    with nullcontext() if finished else stopping_at(samples, "write_sheets", 1):
        auxar.sample(plain, images=4, out=out)
    before, other = snapshot(out), {"images": 4, **options}
    with pytest.raises(UserError, match="holds samples of other options, weights or images; replace them with --rep"):
        auxar.sample(plain, out=out, **other)
    assert snapshot(out) == before
    auxar.sample(plain, out=out, replace=True, **other)
    assert contents(out) == contents(auxar.sample(plain, out=tmp_path / "other", **other))


def test_samples_depend_on_the_weights_and_not_on_the_folder_of_the_run(plain, labeled, tmp_path):
    out = auxar.sample(plain, images=1, out=tmp_path / "out")
    before = snapshot(out)
    auxar.sample(shutil.copytree(plain, tmp_path / "moved"), images=1, out=out)
    assert snapshot(out) == before
    other = run(tmp_path / "other", tiny(labeled, stage__0__repeat=2, sampling__images=0, training__seed=1))
    with pytest.raises(UserError, match="holds samples of other options, weights or images"):
        auxar.sample(other, images=1, out=out)


def test_nothing_is_marked_if_no_image_can_be_drawn(plain, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise UserError("engine")

    with monkeypatch.context() as patch:
        patch.setattr("auxar.draw.plan._draw", fail)
        with pytest.raises(UserError, match="engine"):
            auxar.sample(plain, images=100, out=tmp_path / "out")
    assert not (tmp_path / "out" / MARK).exists()
    auxar.sample(plain, images=1, out=tmp_path / "out")


@pytest.mark.parametrize("number", [["-n", "0"], ["--set", "sampling.images=0", "--given", "000.png"]])
def test_numbers_of_images_that_cannot_be_drawn(finished, pictures, refused, monkeypatch, number):
    monkeypatch.chdir(pictures)
    before = snapshot(finished)
    told = refused("sample", finished, *number, "--out", finished / "samples")
    assert "sampling.images (-n) is 0: expected at least 1" in told
    assert snapshot(finished) == before


@pytest.mark.parametrize("name", ["123456789.png", "1000000-1000.png"])
def test_pictures_may_have_long_numbers(finished, tmp_path, name):
    out = Path(shutil.copytree(finished / "samples", tmp_path / "out"))
    (out / "images" / name).touch()
    auxar.sample(finished, images=1, seed=1, out=out, replace=True)
    assert [file.name for file in (out / "images").iterdir()] == ["000000.png"]


@pytest.mark.parametrize("name", ["00001.png", "0000001.png", "٠٠٠٠٠٠.png", "000000-01.png"])
def test_other_numbers_are_not_those_of_samples(finished, tmp_path, name):
    out = Path(shutil.copytree(finished / "samples", tmp_path / "out"))
    (out / "images" / name).touch()
    with pytest.raises(UserError, match=rf"{name} is not a sample"):
        check_samples(out)


def test_a_run_that_draws_nothing_keeps_earlier_samples_and_has_no_figures(pictures, finished, tmp_path):
    own = Path(shutil.copytree(finished, tmp_path / "run"))
    before = snapshot(own / "samples")
    run(own, tiny(pictures, sampling__images=0, sampling__figure_rows=2))
    assert (own / "report.html").exists()
    assert not (own / "figures").exists()
    assert snapshot(own / "samples") == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(REPETITIONS))
def test_processes_that_are_killed_and_join_draw_what_one_process_draws(plain, tmp_path, seed):
    whole = auxar.sample(plain, images=1000, arithmetic="integer", out=tmp_path / "whole")
    parts = tmp_path / "parts"
    line = command("sample", plain, "--out", parts, "-n", "1000", "--arithmetic", "integer", "-q")
    assert set(outputs_of_killed(line, seed)) == {(f"{parts}\n", "")}
    assert contents(parts) == contents(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "parts"}
