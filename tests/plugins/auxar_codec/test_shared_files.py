"""Tests that processes which compress the same pictures share them, and that another file is not replaced unasked."""

import base64
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from helpers.golden_models import golden_images
from helpers.killing import REPETITIONS, outputs_of_killed
from helpers.plain_decoder import decoded_images
from helpers.tiny_runs import calls_of, snapshot, stopping_at
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from auxar.errors import UserError
from auxar_codec import codec, compress, decompress, decompression
from auxar_codec.archive import chunks_of
from auxar_codec.compression import CHUNK, Compression
from auxar_codec.container import packed_container, read_container

THREE = 3 * 8 * 8 * 3
"""The sub-pixels of three pictures."""
OLD = base64.b85decode(
    "i9uCZK~fD0A^<1=006^kK|y6vVs2&%vOPZO&ZcI`<&lYwp1HX>p%IkW8(Rwi-~cfIAYA|efINtBs&t(Be8~w=(=xH<<uiY(7f3DdP&Lp?JH"
    "!A0@Tne3U-*Eygg28ODTqrR7T1mhoJ7BWnSouRUhmko5KXAC@xOqi5RD@E``HzD;i;?0Vg"
)
"""A file of format 1 with the first picture, named a.png."""


@pytest.fixture(scope="module")
def whole(run, images, tmp_path_factory):
    """The file of all images, made in one chunk."""
    path = tmp_path_factory.mktemp("whole") / "a.auxar"
    compress(run, images, path)
    assert [file.name for file in path.parent.iterdir()] == ["a.auxar"], "a single chunk needs no folder"
    return path


def test_a_command_that_is_stopped_at_any_chunk_goes_on_and_gives_the_file_of_one_call(
    run, images, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr("auxar_codec.compression.CHUNK", THREE)
    out, count = tmp_path / "a.auxar", -(-len(golden_images()) // 3)
    for _ in range(count - 1):
        with stopping_at(Compression, "compute", 2):
            compress(run, images, out)
        assert not out.exists()
    with calls_of(Compression, "compute") as computed:
        made = compress(run, images, out)
    assert computed == [count - 1], "no chunk is begun again after it was done"
    assert (made.images, made.bytes) == (len(golden_images()), whole.stat().st_size)
    assert out.read_bytes() == whole.read_bytes()
    before = snapshot(tmp_path)
    monkeypatch.setattr(Compression, "compute", None)
    for replace in (False, True):
        assert compress(run, images, out, replace=replace) == made, "the file has these pictures already"
    assert snapshot(tmp_path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.auxar"]


@given(sizes=st.lists(st.integers(1, 2 * CHUNK), min_size=1, max_size=20))
def test_chunks_are_consecutive_pictures_and_as_large_as_they_may_be(sizes):
    parts = [range(len(sizes))[part] for part in chunks_of(sizes, CHUNK)]
    assert [number for part in parts for number in part] == list(range(len(sizes)))
    totals = [sum(sizes[number] for number in part) for part in parts]
    for part, total, following in zip(parts, totals, parts[1:], strict=False):
        assert total + sizes[following.start] > CHUNK
        assert total <= CHUNK or len(part) == 1


def other_profile(picture, path):
    picture.save(path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def with_text(picture, path, text="a cat"):
    exif = picture.getexif()
    exif[0x010E] = text
    picture.save(path, exif=exif)


def other_shape(picture, path):
    width, height = picture.size
    Image.frombytes("RGB", (width // 2, height * 2), picture.tobytes()).save(path)


CHANGES: dict[str, Callable[[Image.Image, Path], object]] = {
    "other values": lambda picture, path: Image.new("RGB", picture.size, (7, 7, 7)).save(path),
    "another shape with the same values": other_shape,
    "another profile": other_profile,
    "another text of the same length": lambda picture, path: with_text(picture, path, "a dog"),
    "another name": lambda _, path: path.rename(path.with_name("other.png")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_of_other_pictures_is_replaced_only_if_asked(run, images, tmp_path, change, caplog):
    pictures = shutil.copytree(images, tmp_path / "pictures")
    with Image.open(images / "3.png") as picture:
        with_text(picture, pictures / "3.png")
        compress(run, [pictures], out := tmp_path / "a.auxar")
        before = out.read_bytes()
        change(picture, pictures / "3.png")
    with pytest.raises(UserError, match=r"a\.auxar exists; files are replaced only with --replace"):
        compress(run, [pictures], out)
    assert out.read_bytes() == before
    compress(run, [pictures], out, replace=True)
    compress(run, [pictures], tmp_path / "new.auxar")
    assert out.read_bytes() == (tmp_path / "new.auxar").read_bytes() != before
    assert not caplog.messages
    compress(run, [pictures], out, replace=True)
    assert caplog.messages == [f"{out} has these pictures and is kept"]


def test_parts_of_stopped_work_on_other_pictures_are_not_used(run, images, tmp_path, monkeypatch):
    monkeypatch.setattr("auxar_codec.compression.CHUNK", THREE)
    pictures, out = shutil.copytree(images, tmp_path / "pictures"), tmp_path / "a.auxar"
    with Image.open(images / "1.png") as picture:
        with_text(picture, pictures / "1.png")
        with stopping_at(Compression, "compute", 3):
            compress(run, [pictures], out)
        with_text(picture, pictures / "1.png", "a dog")  # It has the values and the sizes of before.
    compress(run, [pictures], out)
    compress(run, [pictures], tmp_path / "new.auxar")
    assert out.read_bytes() == (tmp_path / "new.auxar").read_bytes()


def test_any_flipped_bit_of_a_finished_file_is_noticed_and_the_file_is_made_again(run, images, tmp_path, caplog):
    own, out = codec(run), tmp_path / "a.auxar"
    whole = own.encode(images / "1.png")
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        out.write_bytes(content)
        work = Compression(own, [images / "1.png"], out, None)
        assert not work.is_concluded()
        if place % 16 == 0:
            work.do()
            assert out.read_bytes() == whole
    assert caplog.messages == [f"{out} has these pictures, but is damaged; it is made again"] * len(whole)


def test_a_file_of_format_1_is_decoded_and_its_pictures_are_kept_as_far_as_they_are_known(
    run, images, tmp_path, caplog
):
    own, picture = codec(run), shutil.copy(images / "0.png", tmp_path / "a.png")
    new = own.encode([picture])
    assert [own.decode(OLD, depth=depth) for depth in (0, 1)] == [own.decode(new, depth=depth) for depth in (0, 1)]
    assert list(decoded_images(OLD, own.model, most=1)) == ["a.png"]
    (file := tmp_path / "a.auxar").write_bytes(OLD)
    Compression(own, [picture], file, None, replace=True).do()
    assert "a.auxar has these pictures, as far as is known without decoding them, and is kept: " in caplog.text
    assert file.read_bytes() == OLD


def test_a_file_that_is_cut_or_joined_or_of_another_model_is_replaced_only_if_asked(run, images, whole, tmp_path):
    out, found, right = tmp_path / "a.auxar", read_container(whole), whole.read_bytes()
    own, pictures = codec(run), sorted(images.iterdir())
    records = [record or b"" for _, record in found.records(found.entries)]
    other = packed_container(attrs.evolve(found.header, model="other"), found.entries, records, ())
    joined = b"".join(other) + right
    for content, problem in (
        (b"", "exists"),
        (right[:-13], "exists"),
        (b"".join(other), "exists"),
        (joined, f"has {len(right):,} bytes after its end; if files were joined, .*"),
        (right + b"x", "has 1 bytes after its end; if files were joined, .*"),
        (right[:300] + b"x" + right[300:], "has 1 bytes after its end; .*"),
    ):
        out.write_bytes(content)
        with pytest.raises(UserError, match=rf"a\.auxar {problem}; files are replaced only with --replace$"):
            Compression(own, pictures, out, None)
        assert out.read_bytes() == content
        Compression(own, pictures, out, None, replace=True).do()
        assert out.read_bytes() == whole.read_bytes()


def test_a_file_that_another_command_has_made_meanwhile_is_kept(run, images, tmp_path, monkeypatch):
    compute, out = Compression.compute, tmp_path / "a.auxar"

    def overtaken(self: Compression, number: int) -> Any:
        out.write_text("mine")
        return compute(self, number)

    monkeypatch.setattr(Compression, "compute", overtaken)
    with pytest.raises(UserError, match=r"a\.auxar exists"):
        compress(run, images, out)
    assert out.read_text() == "mine"


def test_a_picture_that_changes_meanwhile_is_noticed(run, images, tmp_path, monkeypatch):
    pictures, do = shutil.copytree(images, tmp_path / "pictures"), Compression.do

    def changing(self: Compression, description: str | None = None) -> None:
        shutil.copy(images / "1.png", pictures / "2.png")
        do(self, description)

    monkeypatch.setattr(Compression, "do", changing)
    with pytest.raises(UserError, match=r"2\.png has changed since this command began"):
        compress(run, [pictures], tmp_path / "a.auxar")
    assert not (tmp_path / "a.auxar").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in snapshot(folder).items()}


@pytest.mark.parametrize(("before", "depth"), [(0, 0), (1, 1), (1, 0)])
def test_parts_of_stopped_decoding_are_used_only_if_all_is_as_it_was(run, whole, tmp_path, monkeypatch, before, depth):
    decompress(whole, tmp_path / "whole", run=run, depth=depth)
    monkeypatch.setattr(decompression, "DECODED_DIMS", THREE)
    content, file = bytearray(whole.read_bytes()), tmp_path / "a.auxar"
    content[read_container(whole).start] ^= 1
    for own, name in ((content, "damaged"), (whole.read_bytes(), "deleted")):
        file.write_bytes(own)
        with stopping_at(decompression.Decompression, "compute", 3):
            decompress(file, tmp_path / name, run=run, depth=before)
        (tmp_path / name / "1.png").unlink()
        file.write_bytes(whole.read_bytes())
        assert not decompress(file, tmp_path / name, run=run, depth=depth, replace=before > 0).damaged
        assert contents(tmp_path / "whole").items() <= contents(tmp_path / name).items()


def test_work_on_other_depths_or_images_has_other_keys(run, whole, tmp_path):
    """A picture whose values are stored has the same record at each depth."""
    container, own = read_container(whole), codec(run)
    stored = [entry for entry in container.entries if entry.raw]
    chosen = [(stored, 0), (stored, 1), (container.entries[:1], 0), (container.entries[:2], 0)]
    work = [decompression.Decompression(container, own, tmp_path, *each, replace=False) for each in chosen]
    assert len({each.key for each in work}) == len(chosen)


@pytest.mark.parametrize("depth", [0, 1])
def test_decoding_that_is_stopped_goes_on_and_writes_no_picture_twice(run, whole, tmp_path, monkeypatch, depth):
    decompress(whole, tmp_path / "whole", run=run, depth=depth)
    monkeypatch.setattr(decompression, "DECODED_DIMS", THREE)
    with calls_of(decompression, "write_picture") as written:
        for _ in range((len(golden_images()) - 1) // 2):
            with stopping_at(decompression, "write_picture", 3):
                decompress(whole, tmp_path / "parts", run=run, depth=depth)
        for _ in range(2):
            decompress(whole, tmp_path / "parts", run=run, depth=depth)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert len(written) == len(golden_images()) == len(contents(tmp_path / "whole"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "whole"]


def other_pixel(picture, path):
    changed = picture.copy()
    changed.putpixel((0, 0), tuple(value ^ 1 for value in picture.getpixel((0, 0))))
    changed.save(path, exif=picture.getexif())


@pytest.mark.parametrize("depth", [0, 1])
def test_a_picture_that_is_there_is_kept_and_another_is_replaced_only_if_asked(run, images, whole, tmp_path, depth):
    found = decompress(whole, tmp_path / "out", run=run, depth=depth)
    (view,) = decompress(whole, tmp_path / "view", run=run, only=[found.paths[1].name], depth=1 - depth).paths
    before = snapshot(tmp_path / "out")
    assert decompress(whole, tmp_path / "out", run=run, depth=depth, replace=True).paths == found.paths
    assert snapshot(tmp_path / "out") == before
    with Image.open(found.paths[1]) as picture:
        for change in (other_profile, other_pixel, lambda _, path: shutil.copy(view, path)):
            change(picture, found.paths[1])
            found.paths[0].unlink()
            with pytest.raises(UserError, match=f"{found.paths[1].name} exists; regular files are replaced only with"):
                decompress(whole, tmp_path / "out", run=run, depth=depth)
            assert not found.paths[0].exists(), "nothing is written if another picture exists"
            decompress(whole, tmp_path / "out", run=run, depth=depth, replace=True)
            assert contents(tmp_path / "out") == {name: content for name, (_, content) in before.items()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(REPETITIONS))
def test_processes_that_are_killed_and_join_make_the_file_of_one_process(run, tmp_path, seed):
    numbers, pictures, out = random.Random(seed), tmp_path / "pictures", tmp_path / "parts" / "a.auxar"
    pictures.mkdir()
    for number in range(60):
        width, height = numbers.randint(1, 90), numbers.randint(1, 90)
        Image.frombytes("RGB", (width, height), numbers.randbytes(3 * width * height)).save(pictures / f"{number}.png")
    code = "import sys, auxar_codec.compression as c; c.CHUNK = 2**14; from auxar.cli import main; sys.exit(main())"
    line: list[str | Path] = [sys.executable, "-c", code, "compress", run, pictures, "-o", out, "-q"]
    for printed, errors in outputs_of_killed(line, seed):
        assert printed.startswith(f"{out}: 60 images, ")
        assert errors in ("", f"{out} has these pictures and is kept\n"), "a process may join when all is done"
    made = compress(run, pictures, tmp_path / "whole.auxar")
    assert out.read_bytes() == made.path.read_bytes()
    assert [file.name for file in out.parent.iterdir()] == ["a.auxar"]
    for depth in ("0", "1"):
        decompress(out, tmp_path / "one" / depth, run=run, depth=int(depth))
        several = tmp_path / "several" / depth
        line = [sys.executable, "-m", "auxar", "decompress", out, "-o", several, "--depth", depth, "--run", run, "-q"]
        assert all(not errors for _, errors in outputs_of_killed(line, seed))
        for path in several.glob(".*.part"):  # A process that is killed leaves the file that it writes.
            path.unlink()
        assert contents(several) == contents(tmp_path / "one" / depth)
