"""Tests of streams whose shards are divided among processes (`data.shards = "own"`)."""

import io
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.tiny_runs import tiny, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from auxar import UserError, load_recipe
from auxar.data import load_images, training_batches

SHARDS, EACH = 4, 6
"""The number of files of training images, and the number of images in each."""


def encoded(value):
    """A picture of one gray value."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for shard in range(SHARDS):
        values = [encoded(10 * shard + number) for number in range(EACH)]
        pq.write_table(pa.table({"image": values}), folder / f"train-{shard:05}-of-{SHARDS:05}.parquet")
    pq.write_table(pa.table({"image": [encoded(200)]}), folder / "test.parquet")
    return folder


def recipe(folder, path, **changes):
    keys = {"data__streaming": True, "data__heldout": "test", "data__split": None, "data__shards": "own"}
    return load_recipe(write(path / "recipe.toml", tiny(folder, **{**keys, **changes})))


@pytest.fixture(scope="module")
def images(folder, tmp_path_factory):
    found, registry = recipe(folder, tmp_path_factory.mktemp("recipe"), data__shuffle_buffer=5)
    return load_images(found.data, found.image, registry, found.condition).train


def read(images, processes, rank, *, steps, batch_size, start=0, workers=0):
    batches = training_batches(
        images, batch_size=batch_size, steps=steps, start=start, seed=1, flip=False, rank=rank, processes=processes,
        workers=workers,
    )  # fmt: skip
    return [batch[:, 0, 0, 0].tolist() for batch in batches]


@settings(max_examples=20, deadline=None)
@given(processes=st.integers(1, SHARDS), share=st.integers(1, 5), start=st.integers(0, 4))
def test_each_process_reads_its_own_shards(images, processes, share, start):
    steps, every = 5, []
    for rank in range(processes):
        batches = read(images, processes, rank, steps=steps, batch_size=share * processes)
        own = [10 * shard + number for shard in range(rank, SHARDS, processes) for number in range(EACH)]
        values = [*itertools.chain.from_iterable(batches)]
        # Its images come once in each of its epochs, in an order that only the seed determines.
        for begin in range(0, len(values) - len(own) + 1, len(own)):
            assert sorted(values[begin : begin + len(own)]) == own
        assert set(values) <= set(own)
        assert [len(batch) for batch in batches] == [share] * steps
        # A resumed training goes on with the same images.
        assert read(images, processes, rank, steps=steps, batch_size=share * processes, start=start) == batches[start:]
        every += own
    assert sorted(every) == [10 * shard + number for shard in range(SHARDS) for number in range(EACH)]


def test_a_single_process_and_the_default_read_the_whole_stream(folder, images, tmp_path):
    found, registry = recipe(folder, tmp_path, data__shuffle_buffer=5, data__shards="all")
    usual = load_images(found.data, found.image, registry, found.condition).train
    options = {"steps": 8, "batch_size": 4}
    assert read(images, 1, 0, **options) == read(usual, 1, 0, **options)
    shares = [read(usual, 2, rank, **options) for rank in range(2)]
    assert [first + second for first, second in zip(*shares, strict=True)] == read(usual, 1, 0, **options)
    assert usual.fingerprint == images.fingerprint


def test_a_worker_reads_the_same_images(images):
    options = {"steps": 6, "batch_size": 4}
    assert read(images, 2, 1, workers=2, **options) == read(images, 2, 1, **options)


def test_images_of_different_processes_are_mirrored_independently(images):
    def mirrored(rank):
        # Each row of a picture grows from left to right.
        pictures = torch.arange(8).expand(4, 3, 8, 8)
        batches = training_batches(
            _Pictures(images, pictures),  # type: ignore[arg-type]
            batch_size=8,
            steps=12,
            seed=1,
            flip=True,
            rank=rank,
            processes=2,
        )
        return [bool(picture[0, 0, 0] > picture[0, 0, 7]) for batch in batches for picture in batch]

    first, second = mirrored(0), mirrored(1)
    assert len(first) == len(second) == 48
    assert 0 < sum(a == b for a, b in zip(first, second, strict=True)) < 48


class _Pictures:
    """Gives other pictures in the place of a set's images."""

    most_workers = 1

    def __init__(self, images, pictures):
        self.images = images
        self.pictures = pictures

    def own_part(self, rank, processes):
        return _Pictures(self.images.own_part(rank, processes), self.pictures)

    def training_examples(self, seed, shares):
        for examples in self.images.training_examples(seed, shares):
            yield type(examples)(self.pictures[: len(examples)])


def test_too_few_shards_are_one_sentence(images):
    with pytest.raises(UserError, match=r"^data.shards: 'own' needs at least one file .*there are 4 for 5 processes"):
        read(images, 5, 0, steps=1, batch_size=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__streaming": None}, "data.shards: 'own' is for streams"),
        ({"data__limit": 3}, "data.shards: 'own' cannot be combined with data.limit"),
        (
            {"data__heldout": None, "data__split": {"train": 0.5}},
            "data.shards: 'own' cannot be combined with data.split",
        ),
        ({"data__split": {"validation": 0.1}}, "data.shards: 'own' cannot be combined with data.split"),
        ({"data__shards": "each"}, "data: shards must be one of all, own, got 'each'"),
    ],
)
def test_what_does_not_fit_own_shards_is_refused(folder, tmp_path, changes, message):
    with pytest.raises(UserError) as caught:
        recipe(folder, tmp_path, **changes)
    assert message in str(caught.value)
