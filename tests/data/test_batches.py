"""Tests of batches: for training, resumed, shared by processes and read by workers; and for evaluation."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.image_sets import SPEC, load, members, numbers, training_batches, write_numbered, write_parquet
from helpers.listed_images import Listed
from helpers.tiny_runs import tiny, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auxar import load_recipe
from auxar.data.batches import evaluation_examples
from auxar.data.conversion import Preparation
from auxar.data.sets import ImageSet
from auxar.data.source import open_source
from auxar.data.splits import Side
from auxar.data.streamed import StreamedImages
from auxar.errors import UserError
from auxar.model import ImageSpec, Values
from auxar.recipe import Crop, DataConfig, Split
from auxar_augmentations import Flip, Shift

COUNT = 23
KINDS = ["stored", "streamed"]
AUGMENT = st.sampled_from([(), (Flip(),), (Shift(2), Flip())])
orders = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def whole_stream(path: Path, broken: str = "error", buffer: int = 5) -> StreamedImages:
    """Streams all images of a folder, without dividing them."""
    source = open_source(DataConfig(str(path), streaming=True)).images(DataConfig(str(path)), "train")
    return StreamedImages(source, Preparation(SPEC, Crop(), "none"), SPEC, None, Side(), broken == "skip", buffer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("numbered")
    for part in range(3):
        for number in range(part, COUNT, 3):
            write_numbered(root / f"part{part}", 1, number)
    return root


@pytest.fixture(scope="module")
def sets(folder) -> dict[str, ImageSet]:
    return {"stored": load(folder).train.whole(), "streamed": whole_stream(folder)}


def batches(images: Any, **options: Any) -> list[torch.Tensor]:
    return list(training_batches(images, **{"batch_size": 4, "steps": 9, "seed": 3, **options}))


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


# --- training --------------------------------------------------------------------------------------------------------


@orders
@given(st.integers(1, 12), st.integers(0, 2**40), st.integers(1, 3))
def test_each_image_is_used_equally_often(sets, batch_size, seed, epochs):
    # Batches may span two epochs. Whenever a multiple of COUNT images was used, each image was used equally often; in
    # between, the numbers of uses differ by at most one.
    used = Counter(dict.fromkeys(range(COUNT), 0))
    steps = epochs * COUNT // batch_size + 1
    found = batches(sets["stored"], batch_size=batch_size, steps=steps, seed=seed)
    for position, number in enumerate(numbers(torch.cat(found)), 1):
        used[number] += 1
        assert max(used.values()) - min(used.values()) <= 1
        if position % COUNT == 0:
            assert set(used.values()) == {position // COUNT}


@pytest.mark.parametrize("kind", KINDS)
@orders
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99), AUGMENT)
def test_batches_do_not_depend_on_processes(sets, kind, processes, share, seed, augment):
    options = {"batch_size": processes * share, "steps": 5, "seed": seed, "augment": augment}
    whole = batches(sets[kind], **options)
    shares = [batches(sets[kind], **options, rank=rank, processes=processes) for rank in range(processes)]
    assert equal(whole, [torch.cat(parts) for parts in zip(*shares, strict=True)])


@pytest.mark.parametrize("kind", KINDS)
@orders
@given(st.integers(1, 12), st.integers(0, 8), st.integers(1, 40), AUGMENT)
def test_resumption_is_continuation(folder, sets, kind, batch_size, start, buffer, augment):
    images = sets["stored"] if kind == "stored" else whole_stream(folder, buffer=buffer)
    options = {"batch_size": batch_size, "seed": buffer, "augment": augment}
    assert equal(batches(images, **options)[start:], batches(images, **options, start=start))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers(sets, workers):
    state = torch.get_rng_state()
    for images in sets.values():
        options = {"augment": [Flip(), Shift(2)], "start": 2}
        assert equal(batches(images, **options), batches(images, **options, workers=workers))
    assert torch.equal(state, torch.get_rng_state())


def test_each_worker_reads_batches():
    class Readers(Listed):
        """A set whose pixels are the number of the process that reads them."""

        def training_examples(self, seed, shares):
            for _ in shares:
                yield Values({"image": torch.full((1, 1, 1, 1), os.getpid())})

    images = Readers(ImageSpec(1, height=1, width=1), torch.zeros(1, 1, 1, 1))
    readers = [int(batch) for batch in batches(images, batch_size=1, workers=2)]
    assert len({*readers, os.getpid()}) == 3
    assert readers[2:] == readers[:-2]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_broken_images_in_a_stream(tmp_path, caplog, workers):
    write_numbered(tmp_path, 12)
    (tmp_path / "003.png").write_bytes(b"no image")
    (tmp_path / "008.png").write_bytes((tmp_path / "008.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"^data.path: 00[38].png cannot be read as an image: .*data.broken = 'skip'"):
        batches(whole_stream(tmp_path), workers=workers)
    images = whole_stream(tmp_path, broken="skip")
    found = batches(images, steps=5)
    assert Counter(numbers(torch.cat(found))) == dict.fromkeys((0, 1, 2, 4, 5, 6, 7, 9, 10, 11), 2)
    assert "003.png" in caplog.text
    assert equal(found[2:], batches(images, steps=5, start=2))


# --- shards ----------------------------------------------------------------------------------------------------------

SHARDS, EACH = 4, 6
"""The number of files of training images, and the number of images in each."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(SHARDS):
        write_parquet(folder / f"train-{shard:05}-of-{SHARDS:05}.parquet", EACH, 10 * shard)
    write_parquet(folder / "test.parquet", 1, 200)
    return folder


@pytest.fixture(scope="module")
def own(shards) -> ImageSet:
    return load(shards, streaming=True, heldout="test", shards="own", shuffle_buffer=5).train


@settings(max_examples=20, deadline=None)
@given(processes=st.integers(1, SHARDS), share=st.integers(1, 5), start=st.integers(0, 4))
def test_each_process_reads_its_own_shards(own, processes, share, start):
    options = {"steps": 5, "batch_size": share * processes, "processes": processes}
    for rank in range(processes):
        found = batches(own, rank=rank, **options)
        shard = [10 * shard + number for shard in range(rank, SHARDS, processes) for number in range(EACH)]
        values = numbers(torch.cat(found))
        # Its images come once in each of its epochs, in an order that only the seed determines.
        for begin in range(0, len(values) - len(shard) + 1, len(shard)):
            assert sorted(values[begin : begin + len(shard)]) == shard
        assert set(values) <= set(shard)
        assert [len(batch) for batch in found] == [share] * 5
        # A resumed training goes on with the same images.
        assert equal(batches(own, rank=rank, start=start, **options), found[start:])


def test_a_single_process_and_the_default_read_the_whole_stream(shards, own):
    usual = load(shards, streaming=True, heldout="test", shuffle_buffer=5).train
    assert equal(batches(own), batches(usual))
    shares = [batches(usual, rank=rank, processes=2) for rank in range(2)]
    assert equal([torch.cat(parts) for parts in zip(*shares, strict=True)], batches(usual))
    assert usual.fingerprint == own.fingerprint
    assert equal(batches(own, rank=1, processes=2, workers=2), batches(own, rank=1, processes=2))


def test_images_of_different_processes_are_mirrored_independently(own):
    plain, flipped = (
        [torch.cat(batches(own, rank=rank, processes=2, steps=24, augment=augment)) for rank in range(2)]
        for augment in ([], [Flip()])
    )
    first, second = ((one != other).flatten(1).any(1) for one, other in zip(plain, flipped, strict=True))
    assert 0 < (first == second).sum() < len(first) == 48


def test_too_few_shards_are_one_sentence(own):
    with pytest.raises(UserError, match=r"^data.shards: 'own' needs at least one file .*there are 4 for 5 processes"):
        batches(own, processes=5, batch_size=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__streaming": None}, "data.shards: 'own' is for streams"),
        ({"data__limit": 3}, "data.shards: 'own' cannot be combined with data.limit"),
        ({"data__heldout": None}, "data.shards: 'own' cannot be combined with data.split"),
        ({"data__split": {"validation": 0.1}}, "data.shards: 'own' cannot be combined with data.split"),
    ],
)
def test_what_does_not_fit_own_shards_is_refused(tmp_path, changes, message):
    keys = {"data__streaming": True, "data__heldout": "test", "data__split": None, "data__shards": "own", **changes}
    with pytest.raises(UserError, match=message):
        load_recipe(write(tmp_path / "recipe.toml", tiny(tmp_path, **keys)))


# --- evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@orders
@given(st.integers(1, 30), st.integers(1, 5), st.none() | st.integers(1, 30))
def test_evaluation_covers_every_image_once(sets, kind, batch_size, processes, limit):
    found: list[tuple[int, int]] = []
    sizes = []
    for rank in range(processes):
        parts = list(
            evaluation_examples(sets[kind], batch_size=batch_size, limit=limit, rank=rank, processes=processes)
        )
        assert all(len(pixels) == batch_size for _, pixels in parts[:-1])
        sizes.append(sum(len(pixels) for _, pixels in parts))
        for indices, pixels in parts:
            # The batches are the same as with one process, and processes take them in turn.
            assert all(index // batch_size % processes == rank for index in indices.tolist())
            found += zip(indices.tolist(), numbers(pixels["image"]), strict=True)
    assert sorted(found) == list(enumerate(members(sets["stored"])[:limit]))
    assert max(sizes) - min(sizes) <= batch_size


def test_a_stream_of_broken_images_gives_no_empty_batches(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"broken")
    images = load(tmp_path, streaming=True, broken="skip", split=Split(0.5, seed=1)).train
    with pytest.raises(UserError, match=r"gives no images for training: .* or broken"):
        list(evaluation_examples(images, batch_size=2, rank=1, processes=2))
    with pytest.raises(UserError, match="gives no images for training"):
        batches(images)
