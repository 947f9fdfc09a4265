"""Tests of the format of files: every field is read as it was written, and damage is found."""

import json
import lzma
import random
import zlib
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar_codec.archive import streams_of
from auxar_codec.container import DICTIONARY, ENDS, FORMAT, MAGIC, Header, packed_container, read_container
from auxar_codec.index import FILTERS, MOST_INDEX, Entry, check_index, packed_index

HEADER = Header(FORMAT, "model", "ab", 3, 4, 4, 256, (2, 4))


NAMES = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=9)


@st.composite
def coded_images(draw):
    """Entries and records of images, with streams of random lengths."""
    names = draw(st.lists(NAMES.filter(lambda name: name not in (".", "..")), unique=True, min_size=1, max_size=4))
    found = []
    for name in names:
        height, width = draw(st.sampled_from([(4, 4), (1, 1), (9, 5), (4, 13)]))
        tiles = -(-height // 4) * -(-width // 4)
        profile, exif = draw(st.integers(0, 3)), draw(st.integers(0, 200))
        lengths = tuple(tuple(draw(st.lists(st.integers(0, 200), min_size=tiles, max_size=tiles))) for _ in range(2))
        record = random.Random(0).randbytes(profile + exif + sum(map(sum, lengths)))
        checksum, gray = draw(st.integers(0, 2**32 - 1)), draw(st.booleans())
        entry = Entry(name, gray, height, width, profile, exif, checksum, (), lengths)
        if draw(st.booleans()):
            entry = attrs.evolve(entry, raw=1 if gray else 3, lengths=((), ()))
            record = random.Random(0).randbytes(entry.size)
        entry = attrs.evolve(entry, coarse_checksum=zlib.crc32(record[: len(record) - sum(entry.lengths[-1])]))
        found.append((entry, record))
    return found


@given(images=coded_images())
def test_a_file_is_read_as_it_was_written(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("container") / "a.auxar"
    entries = [entry for entry, _ in images]
    path.write_bytes(b"".join(packed_container(HEADER, entries, [record for _, record in images], entries)))
    found = read_container(path)
    assert found.header == HEADER
    assert found.entries == tuple(entry for entry, _ in images)
    assert list(found.records(found.entries)) == images
    assert list(found.records(found.entries[1:2])) == images[1:2]
    coarse = [(entry, record[: len(record) - sum(entry.lengths[-1])]) for entry, record in images]
    assert list(found.records(found.entries, coarse=True)) == coarse


def written(path, sizes=(5, 0, 7)):
    """Writes a file of three images of one tile each. Returns their entries and records."""
    entries, records = [], []
    for number, size in enumerate(sizes):
        record = random.Random(number).randbytes(size)
        lengths = ((size // 2,), (size - size // 2,))
        coarse = record[: size // 2]
        entries.append(Entry(f"{number}.png", False, 4, 4, 0, 0, number, (), lengths, 0, zlib.crc32(coarse)))
        records.append(record)
    path.write_bytes(b"".join(packed_container(HEADER, entries, records, entries)))
    return entries, records


def test_the_streams_of_a_record_are_those_of_its_lengths():
    entry = Entry("a", False, 4, 8, 1, 2, 0, lengths=((1, 0), (2, 3)))
    assert streams_of(entry, b"pe!abbccc") == [(b"a", b"bb"), (b"", b"ccc")]


def described(name="a", **fields):
    """An image of one tile, with `fields` changed."""
    return attrs.evolve(Entry(name, False, 4, 4, 0, 0, 0, lengths=((1,), (2,))), **fields)


def stored(**fields):
    """An image whose values are stored, with `fields` changed."""
    return described(**{"raw": 3, "lengths": ((), ()), **fields})


def test_the_index_takes_few_bytes_for_an_image():
    """With five factors, an image of the model's size takes at most 16 bytes, its name included."""
    numbers = random.Random(0)
    entries = [
        described(
            f"{number:06d}.png",
            lengths=tuple((max(0, round(numbers.gauss(mean, mean / 4))),) for mean in (60, 200, 400, 800, 900)),
            coarse_checksum=numbers.getrandbits(32),
            checksum=numbers.getrandbits(32),
        )
        for number in range(500)
    ]
    assert len(packed_index(entries)) <= 500 * 16


@given(images=coded_images())
def test_the_size_of_an_index_is_known_beforehand(images):
    entries = [entry for entry, _ in images]
    tiles = sum(len(entry.lengths[0]) for entry in entries)
    size = len(unpacked(packed_index(entries)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auxar_codec.index.MOST_INDEX", size)
        check_index(entries, tiles, 2)
        patch.setattr("auxar_codec.index.MOST_INDEX", size - 1)
        with pytest.raises(UserError, match=f"whose index would have {size} bytes, and at most {size - 1} are"):
            check_index(entries, tiles, 2)


def test_a_changed_or_cut_record_is_named_and_the_others_are_read(tmp_path):
    path = tmp_path / "a.auxar"
    _, records = written(path)
    content = path.read_bytes()
    content, end = content[: -ENDS[FORMAT]], content[-ENDS[FORMAT] :]
    changed = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:] + end  # in the coarse part of the last record
    for found, whole, coarse in (
        (changed, [*records[:2], None], [records[0][:2], b"", None]),
        (content[:-2], [*records[:2], None], [records[0][:2], b"", records[2][:3]]),
        (content[:-9], [None, records[1], None], None),
    ):
        path.write_bytes(found)
        read = read_container(path)
        assert [record for _, record in read.records(read.entries)] == whole
        assert coarse in (None, [record for _, record in read.records(read.entries, coarse=True)])


def replaced_part(path, number, change):
    """Changes the header (0) or the index (1) of a file, with the right length and checksum."""
    content, start = path.read_bytes(), len(MAGIC) + 6
    sizes = [int.from_bytes(content[8:10], "little"), int.from_bytes(content[10:14], "little")]
    parts = [content[start : start + sizes[0]], content[start + sizes[0] :][: sizes[1]]]
    parts[number] = change(parts[number])
    middle = len(parts[0]).to_bytes(2, "little") + len(parts[1]).to_bytes(4, "little") + b"".join(parts)
    checksum = zlib.crc32(middle).to_bytes(4, "little")
    path.write_bytes(content[:8] + middle + checksum + content[start + sum(sizes) + 4 :])


def packed_header(text):
    packing = zlib.compressobj(wbits=-15, zdict=DICTIONARY)
    return packing.compress(text) + packing.flush()


def changed_header(**values):
    def change(packed):
        text = zlib.decompressobj(-15, DICTIONARY).decompress(packed)
        return packed_header(json.dumps({**json.loads(text), **values}).encode())

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_header(format=3), "has format 3; this version of auxar reads the formats 1 and 2"),
        (changed_header(levels=1), "levels"),
        (changed_header(height=10**9), "height"),
        (changed_header(lags=[]), "lags"),
        (changed_header(lags=[4, 0]), "lags"),
        (changed_header(width=0), "tiles of 4×0 pixels"),
        (changed_header(other=1), "other"),
        (lambda _: packed_header(b"[" * 60_000), "header is not valid"),
        (lambda _: packed_header(b" " * 10**7), "header is not valid"),
        (lambda _: b"[]", "header is not valid"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path, change, message):
    written(tmp_path / "a.auxar")
    replaced_part(tmp_path / "a.auxar", 0, change)
    with pytest.raises(UserError, match=message) as caught:
        read_container(tmp_path / "a.auxar")
    assert "a.auxar" in str(caught.value)
    assert "Attribute" not in str(caught.value)


def content_of(entry, names=None):
    """The content of an index of one image, before it is compressed. `names` replaces its name."""
    content = unpacked(packed_index([entry]))
    return content if names is None else content[:4] + names + content[4 + len(entry.name) + 1 :]


WRONG: list[dict[str, Any]] = [{"raw": 1}, {"raw": 2}, {"gray": True}]
"""Fields of images whose values cannot be stored, because the model's images have three channels."""


def packed(content):
    return lzma.compress(content, lzma.FORMAT_RAW, filters=FILTERS)


def unpacked(index):
    return lzma.decompress(index, lzma.FORMAT_RAW, filters=FILTERS)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"", "it is cut"),
        (b"x" * 50, "Corrupt input data"),
        (packed(b"\x01\0\0\0")[:-1], "it is cut"),
        (packed(b"\x01\0\0\0") + b"x", "followed by other bytes"),
        (packed(b""), "ends too early"),
        (packed(b"\x01\0\0\0"), "ends too early"),
        (packed(content_of(described(), names=b"/\0")), "is not allowed"),
        (packed(content_of(described(), names=b"..\0")), "is not allowed"),
        (packed(content_of(described(), names=b"\0")), "is not allowed"),
        (packed(content_of(described(), names=b"\xff\0")), "utf-8"),
        (packed(content_of(described(), names=b"a" * 2000 + b"\0")), "and at most 200 are allowed"),
        (packed(bytes(4)), "it has no images"),
        (packed(content_of(described(raw=4))), "larger than 3"),
        *((packed(content_of(stored(**fields))), "the values of the image 'a' have") for fields in WRONG),
        (packed(content_of(stored(height=0))), "0×4 pixels"),
        (packed(content_of(stored(width=65537))), "4×65537 pixels"),
        (packed(content_of(described(height=0))), "0×4 pixels"),
        (packed(content_of(described(height=65535, width=65535))), "65535×65535 pixels"),
        (packed(content_of(described(height=65537, width=1))), "65537×1 pixels"),
        (packed(content_of(described(height=4000, width=4000))), "ends too early"),  # a million tiles
        (packed(content_of(described(lengths=((209,), (2,))))), "larger than 208"),
        (packed(content_of(described(profile_bytes=2**18 + 1))), "larger than 262,144"),
        (packed(content_of(described(exif_bytes=2**18 + 1))), "larger than 262,144"),
        (packed(content_of(described()) + b"x"), "more bytes than its images"),
        (packed(b"\x02\0\0\0a\0a\0" + bytes(80)), "it is not the only one"),
        (packed(bytes(MOST_INDEX + 1)), "has more than"),
        (bytes(MOST_INDEX + 1), "expected at most"),
    ],
)
def test_a_wrong_index_is_refused(tmp_path, index, message):
    written(tmp_path / "a.auxar")
    replaced_part(tmp_path / "a.auxar", 1, lambda _: index)
    with pytest.raises(UserError, match=message):
        read_container(tmp_path / "a.auxar")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match="was not made by `auxar compress`"):
        read_container(tmp_path / "a")
    for content in (b"", MAGIC[:5], MAGIC):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(UserError, match=r"a is damaged: its header is not valid \(it is cut, or its checksum"):
            read_container(tmp_path / "a")
    with pytest.raises(UserError, match="is missing"):
        read_container(tmp_path / "b")
