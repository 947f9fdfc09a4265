"""Tests of parquet files: types of columns, metadata, damaged files, and paths that lead out of the data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from helpers.image_sets import encoded, every_number, load, numbered
from helpers.image_sets import refusal as refused

from auxar.data.decoding import BrokenImage
from auxar.data.reach import Reach
from auxar.data.source import EncodedImages

COUNT = 3
EXPECTED = "expected image files as binary, or as struct<bytes: binary, path: string>"


FILES = [encoded(numbered(number)) for number in range(COUNT)]
ONE = pa.array(FILES, pa.binary())
NAMES = pa.array(["a.png"] * COUNT)


def struct(content: Any, path: Any, **others: Any) -> pa.StructArray:
    columns = {"bytes": content, "path": path, **others}
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def write(file: Path, columns: dict[str, Any], metadata: bytes | None = None) -> Path:
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    schema = pa.schema(fields, metadata=None if metadata is None else {b"huggingface": metadata})
    pyarrow.parquet.write_table(pa.Table.from_arrays(list(columns.values()), schema=schema), file)
    return file


def colors(path: Path, **options: Any) -> list[int]:
    """Streams all images of a data set and returns their numbers."""
    return every_number(load(path, **{"streaming": True, **options}))


def refusal(path: Path, **options: Any) -> str:
    return refused(path, **{"streaming": True, **options})


class Labeled(pa.ExtensionType):
    """An extension type that is stored as binary."""

    def __init__(self) -> None:
        super().__init__(pa.binary(), "auxar.tests.labeled")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Labeled:
        return cls()


INVALID = pa.Array.from_buffers(pa.string(), COUNT, pa.array([b"\xff.png"] * COUNT, pa.binary()).buffers())
READ = {
    "binary": ONE,
    "dictionary": ONE.dictionary_encode(),
    "extension": pa.ExtensionArray.from_storage(Labeled(), ONE),
    "struct": struct(ONE, NAMES),
    "struct of views": struct(ONE.cast(pa.binary_view()), NAMES.cast(pa.string_view())),
    "struct of large types": struct(ONE.cast(pa.large_binary()), NAMES.cast(pa.large_string())),
    "struct of a dictionary": struct(ONE.dictionary_encode(), NAMES.dictionary_encode()),
    "struct without paths": struct(ONE, pa.nulls(COUNT)),
    "struct with paths that are not UTF-8": struct(ONE, INVALID),
}


@pytest.fixture
def labeled() -> Iterator[None]:
    """Without it, pyarrow reads the extension type as binary."""
    pa.register_extension_type(Labeled())
    yield
    pa.unregister_extension_type("auxar.tests.labeled")


@pytest.mark.usefixtures("labeled")
@pytest.mark.parametrize("kind", READ)
def test_column_types_that_are_read(tmp_path, kind):
    unusual = {
        "id": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16] * COUNT, pa.binary(16))),
        "a.b": pa.array([[("a", 1)]] * COUNT, pa.map_(pa.string(), pa.int32())),
    }
    assert colors(write(tmp_path / "set.parquet", {"im.age": READ[kind], **unusual})) == list(range(COUNT))


REFUSED = {
    "fixed_size_binary[8]": pa.array([b"12345678"] * COUNT, pa.binary(8)),
    "string": NAMES,
    "null": pa.nulls(COUNT),
    "int64": pa.array(range(COUNT)),
    "list<element: uint8>": pa.array([list(content) for content in FILES], pa.list_(pa.uint8())),
    "list<element: list<element: uint8>>": pa.array([[[1]]] * COUNT, pa.list_(pa.list_(pa.uint8()))),
    "struct<bytes: int64, path: string>": struct(pa.array(range(COUNT)), NAMES),
    "struct<bytes: binary>": pa.StructArray.from_arrays([ONE], ["bytes"]),
    "struct<bytes: binary, path: string, n: null>": struct(ONE, NAMES, n=pa.nulls(COUNT)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_column_types_that_are_refused(tmp_path, kind):
    file = write(tmp_path / "set.parquet", {"image": REFUSED[kind]})
    listing = f"{EXPECTED}; the columns are image ({kind})"
    assert refusal(file) == f"data.column: {file} has no column with images; {listing}"
    problem = f"column 'image' of {file} holds no images: its type is {kind}"
    assert refusal(file, column="image") == f"data.column: {problem}; {listing}"


def test_choice_of_the_column(tmp_path):
    file = write(tmp_path / "set.parquet", {"image": ONE, "thumb": pa.array(FILES[::-1]), "label": NAMES})
    assert "has 2 columns with images; set data.column to one of them" in refusal(file)
    assert "has no column 'thumbs'; did you mean 'thumb'? (known: image, label, thumb)" in refusal(
        file, column="thumbs"
    )
    assert colors(file, column="thumb", limit=2) == [1, 2]


METADATA = {
    "no JSON": b"{",
    "nested too deeply": b"[" * 100_000,
    "unknown type": b'{"info": {"features": {"image": {"_type": "os"}}}}',
    "another type": b'{"info": {"features": {"image": {"_type": "Value", "dtype": "int32"}}}}',
}


@pytest.mark.parametrize("kind", METADATA)
def test_metadata_that_cannot_be_used_is_ignored(tmp_path, kind):
    assert colors(write(tmp_path / "set.parquet", {"image": ONE}, METADATA[kind])) == list(range(COUNT))


def test_metadata_tells_which_column_has_the_images(tmp_path):
    declared = json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": {"_type": "Image"}}}}).encode()
    columns = {"thumb": ONE, "image": struct(ONE, NAMES), "label": NAMES}
    assert colors(write(tmp_path / "set.parquet", columns, declared)) == list(range(COUNT))


def damaged_page(file: Path) -> None:
    content = bytearray(write(file, {"image": ONE}).read_bytes())
    content[4:60] = bytes(56)
    file.write_bytes(content)


EXPECTED_ONE = "data.path: expected one column 'image' of the type binary, as in {first}; found"
OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no such column": (lambda file: write(file, {"picture": ONE}), f"{EXPECTED_ONE} no such column in {{file}}"),
    "two columns": (
        lambda file: pyarrow.parquet.write_table(pa.Table.from_arrays([ONE, ONE], ["image", "image"]), file),
        f"{EXPECTED_ONE} binary and binary in {{file}}",
    ),
    "text": (lambda file: file.write_text("text\n" * 9), "{file} cannot be read as parquet: Parquet magic bytes"),
    "an encrypted file": (
        lambda file: file.write_bytes(b"PARE" + bytes(40) + b"\x04\0\0\0PARE"),
        "expected an intact parquet file that is not encrypted",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_file_that_does_not_fit_the_others_is_named(tmp_path, kind):
    make, message = OTHERS[kind]
    first = write(tmp_path / "train-0.parquet", {"image": ONE})
    make(tmp_path / "train-1.parquet")
    assert message.format(file=tmp_path / "train-1.parquet", first=first) in refusal(tmp_path)


def test_damaged_page_is_told_with_its_file(tmp_path):
    write(tmp_path / "train-0.parquet", {"image": ONE})
    damaged_page(tmp_path / "train-1.parquet")
    for streaming, place in ((False, f"{tmp_path}/train-1.parquet cannot be read as parquet"), (True, "stream")):
        assert place in refusal(tmp_path, streaming=streaming)


def test_file_that_is_replaced_by_one_of_the_same_size_is_read_again(tmp_path):
    found, sizes = [], set()
    for first in (1, 101):
        images = [encoded(numbered(number), "BMP") for number in range(first, first + COUNT)]
        pyarrow.parquet.write_table(
            pa.table({"image": images}), tmp_path / "a.parquet", compression="none", use_dictionary=False
        )
        sizes.add((tmp_path / "a.parquet").stat().st_size)
        found.append(colors(tmp_path / "a.parquet", streaming=False))
    assert len(sizes) == 1
    assert found == [list(range(first, first + COUNT)) for first in (1, 101)]


def test_files_that_differ_in_other_ways_are_read(tmp_path):
    write(tmp_path / "train-0.parquet", {"image": ONE.slice(0, 0)})
    write(tmp_path / "train-1.parquet", {"image": ONE, "label": NAMES})
    twice = pa.Table.from_arrays([NAMES, ONE.cast(pa.large_binary()), NAMES], ["label", "image", "label"])
    pyarrow.parquet.write_table(twice, tmp_path / "train-2.parquet")
    for streaming in (False, True):
        assert colors(tmp_path, streaming=streaming) == sorted(2 * list(range(COUNT)))


@pytest.mark.parametrize("streaming", [False, True])
def test_files_and_splits_without_rows(tmp_path, streaming):
    empty = write(tmp_path / "test.parquet", {"image": ONE.slice(0, 0)})
    told = "contains no images, because it has no rows"
    assert refusal(empty, streaming=streaming) == f"data.path: {empty} {told}"
    write(tmp_path / "train.parquet", {"image": ONE})
    assert colors(tmp_path, streaming=streaming) == list(range(COUNT))
    assert refusal(tmp_path, streaming=streaming, heldout="test") == f"data.path: the split 'test' of {tmp_path} {told}"


# --- paths -----------------------------------------------------------------------------------------------------------

ADDRESS = "it is stored as an address, which auxar does not open"
OUTSIDE = "it is stored as a path that leads out of the folder of the data set"
UNREADABLE = "the file does not exist, is not a regular file, or is not readable"
PATHS = {
    "http://127.0.0.1:9/a.png": ADDRESS,
    "hf://datasets/own/set@main/a.png": ADDRESS,
    "file://{root}/set/a.png": ADDRESS,
    "zip://a.png::{root}/set/a.zip": ADDRESS,
    "{root}/secret.png": OUTSIDE,
    "../secret.png": OUTSIDE,
    "../set-2/a.png": OUTSIDE,
    "inner/secret.png": OUTSIDE,
    "inner": OUTSIDE,
    "nothing.png": UNREADABLE,
    "loop.png": UNREADABLE,
    "a\0.png": UNREADABLE,
    "": "it has neither bytes nor a path",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with the folder `set` of a data set, and with files outside of it."""
    root = tmp_path_factory.mktemp("root").resolve()
    for folder in ("set", "set-2"):
        (root / folder).mkdir()
        (root / folder / "a.png").write_bytes(FILES[1])
    (root / "secret.png").write_bytes(FILES[2])
    (root / "set" / "loop.png").symlink_to("loop.png")
    (root / "set" / "inner").symlink_to(root)
    return root


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:20])
def test_paths_that_lead_out_of_a_data_set_are_not_followed(root, monkeypatch, path):
    monkeypatch.setattr("auxar.data.reach._fetch", None)
    images = EncodedImages(None, "image", None, "", "", reach=Reach((root / "set",), base=root / "set"))
    place = path.format(root=root)
    for value in ({"bytes": None, "path": place}, {"bytes": None, "path": place.encode()}):
        with pytest.raises(BrokenImage) as caught:
            images.content(value)
        assert str(caught.value) == PATHS[path]
        assert len(images.name(value, 0)) <= 255


def test_paths_inside_a_data_set_are_followed(root, tmp_path):
    reach = Reach((root / "set",), base=root / "set")
    for path in ("a.png", "./a.png", f"{root}/set/a.png", "inner/set/a.png"):
        assert reach.read(path) == FILES[1]


def test_data_set_of_the_hub_reaches_its_own_files_alone(root, monkeypatch):
    monkeypatch.setattr("auxar.data.reach._fetch", lambda address: b"fetched")
    reach = Reach((root / "set",), repository="own/set")
    assert reach.read(f"{root}/set/a.png") == FILES[1]
    own = "hf://datasets/own/set@main/"
    for path in (f"{own}a.png", f"zip://a.png::{own}a.zip", f"zip://a::tar://b::{root}/set/a.tar"):
        assert reach.read(path) == b"fetched"
    others = (
        "hf://datasets/own/set-2@main/a.png",
        "hf://datasets/own/other@main/a.png",
        f"{own}../../../api/whoami",
        f"http://127.0.0.1:9/::{own}a.zip",
        f"zip://a::{root}/secret.zip",
        "https://huggingface.co/datasets/own/set/resolve/main/a.png",
    )
    for path in others:
        with pytest.raises(BrokenImage, match=ADDRESS):
            reach.read(path)
    with pytest.raises(BrokenImage, match="relative path"):
        reach.read("a.png")


def test_names_in_a_data_set_are_short(root):
    images = EncodedImages(None, "image", None, "", "", reach=Reach((root,)))
    for path in ("y" * 10**6, "https://" + "y" * 10**6, "\n" * 999):
        name = images.name({"bytes": b"", "path": path}, 0)
        assert len(name) <= 260
        assert name.isprintable()
    names = [images.name({"bytes": b"", "path": path}, 7) for path in ("a/b.png", "a/", "/")]
    assert names == ["b.png", "a", "image 7"]


def test_column_of_paths_alone(tmp_path):
    (tmp_path / "a.png").write_bytes(FILES[2])
    assert colors(write(tmp_path / "set.parquet", {"image": struct(pa.nulls(COUNT), NAMES)})) == [2] * COUNT


def test_row_without_an_image_counts_as_broken(tmp_path):
    rows = [{"bytes": FILES[0], "path": None}, {"bytes": None, "path": "http://127.0.0.1:9/a.png"}, None]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    file = write(tmp_path / "set.parquet", {"image": pa.array([*rows, rows[0]], kind)})
    told = (
        f"data.path: http://127.0.0.1:9/a.png (and 1 more) in the split 'train' of {file} cannot be read as an image: "
    )
    assert refusal(file, streaming=False).startswith(f"{told}{ADDRESS}; set data.broken = 'skip'")
    assert colors(file, streaming=False, broken="skip") == [0, 0]
