"""Tests of `auxar compress` in shards, whose files are merged."""

import numpy as np
import pytest
from helpers.tiny_runs import snapshot
from PIL import Image, ImageCms

import auxar
from auxar import UserError
from auxar.cli import main
from auxar.coding.container import MAGIC
from auxar.commands import compress_shards
from auxar.commands.compress_shards import path_of
from auxar.distributed.shards import Shard
from auxar.draw.loading import opened


@pytest.fixture(scope="module")
def whole(run, images, tmp_path_factory):
    """The file of all images, made by one command."""
    path = tmp_path_factory.mktemp("whole") / "a.auxar"
    auxar.compress(run, [images], path)
    return path


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_merged_file_is_that_of_one_command(run, images, whole, tmp_path, count):
    out = tmp_path / "a.auxar"
    parts = [auxar.compress(run, [images], out, shard=f"{number}/{count}") for number in range(count, 0, -1)]
    entries = [entry.name for part in reversed(parts) for entry in auxar.inspect(part.path).entries]
    assert entries == [entry.name for entry in auxar.inspect(whole).entries]
    # The file of a shard is a file of pictures like any other.
    auxar.decompress(parts[0].path, tmp_path / "out", run=run)
    merged = auxar.compress(run, [images], out, merge=count)
    assert out.read_bytes() == whole.read_bytes()
    assert (merged.images, merged.bytes) == (len(entries), whole.stat().st_size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.auxar", "out"]


def test_a_shard_that_is_done_is_kept_and_others_are_refused(run, images, tmp_path, monkeypatch):
    out = tmp_path / "a.auxar"
    made = auxar.compress(run, [images], out, shard="1/2")
    before = made.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("auxar.coding.archive.write_archive", None)
        assert auxar.compress(run, [images], out, shard="1/2") == made
    # A file of other pictures is not replaced, and not merged.
    other = tmp_path / "other.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(other)
    with pytest.raises(UserError, match=r"a-1-of-2\.auxar has other pictures .*; delete it, or replace it with"):
        auxar.compress(run, [other, images], out, shard="1/2")
    auxar.compress(run, [images], out, shard="2/2")
    with pytest.raises(UserError, match=r"a-1-of-2\.auxar has other pictures than this shard"):
        auxar.compress(run, [other, images], out, merge=2)
    assert not out.exists()
    assert made.path.read_bytes() == before


def changed_copy(images, folder, name, change):
    """A copy of a folder of pictures, in which one picture is changed."""
    folder.mkdir()
    for file in images.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with Image.open(images / name) as picture:
        change(picture.convert("RGB"), folder / name)
    return folder


def other_values(picture, path):
    Image.new("RGB", picture.size, (7, 7, 7)).save(path)


def other_shape(picture, path):
    # The same values in the same order.
    width, height = picture.size
    Image.frombytes("RGB", (width // 2, height * 2), picture.tobytes()).save(path)


def other_profile(picture, path):
    picture.save(path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def other_exif(picture, path):
    exif = picture.getexif()
    exif[0x010E] = "a cat"
    picture.save(path, exif=exif)


def flipped(content, place):
    """A file's content with one bit flipped."""
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def test_files_of_shards_are_checked_before_they_are_merged(run, images, tmp_path, caplog, monkeypatch):
    out = tmp_path / "a.auxar"
    with pytest.raises(
        UserError, match=r"a-1-of-2\.auxar is missing \(2 of 2 shards are\); make it with .* --shard 1/2"
    ):
        auxar.compress(run, [images], out, merge=2)
    for number in (1, 2):
        auxar.compress(run, [images], out, shard=f"{number}/2")
    second = path_of(Shard(2, 2), out)
    # A picture that has changed in the meantime.
    name = auxar.inspect(second).entries[-1].name
    for change in (other_values, other_shape, other_profile, other_exif):
        changed = changed_copy(images, tmp_path / change.__name__, name, change)
        before = snapshot(tmp_path)
        with pytest.raises(UserError, match=f"a-2-of-2.auxar has another picture '{name}'; make it again with"):
            auxar.compress(run, [changed], out, merge=2)
        assert snapshot(tmp_path) == before
    # Any change of the file is noticed.
    whole = second.read_bytes()
    model = opened(run, arithmetic="integer", trust_plugins=False)
    monkeypatch.setattr("auxar.draw.loading.opened", lambda *_, **options: model)
    changes = [flipped(whole, place) for place in (*range(len(MAGIC), len(whole), 97), len(whole) - 33, len(whole) - 1)]
    for content in (*changes, *(whole[:size] for size in (0, 5, 60, len(whole) - 33, len(whole) - 1)), whole + b"0"):
        second.write_bytes(content)
        before = snapshot(tmp_path)
        with pytest.raises(UserError, match=r"a-2-of-2\.auxar is damaged: .*; make it again with .* --shard 2/2"):
            auxar.compress(run, [images], out, merge=2)
        assert snapshot(tmp_path) == before
    auxar.compress(run, [images], out, shard="2/2")
    assert "its pictures are compressed again" in caplog.text
    assert second.read_bytes() == whole
    # Shards are kept if the merged file is not what was written.
    with monkeypatch.context() as patch:
        patch.setattr(compress_shards, "write_container", lambda path, *_: path.touch() or b"")
        with pytest.raises(UserError, match="other bytes were read than were written"):
            auxar.compress(run, [images], out, merge=2)
    assert second.read_bytes() == whole
    auxar.compress(run, [images], out, merge=2, replace=True)
    assert not second.exists()


def test_wrong_shards_are_one_sentence(run, images, tmp_path, capsys):
    def refused(*options):
        assert main(["compress", str(run), str(images), "-o", str(tmp_path / "a.auxar"), *options]) == 2
        return capsys.readouterr().err

    assert "--shard: this cannot be combined with merge" in refused("--shard", "1/2", "--merge", "2")
    count = len(list(images.iterdir()))
    for options in (("--shard", f"1/{count + 1}"), ("--merge", str(count + 1))):
        assert f"expected at most one shard for each of the {count} pictures" in refused(*options)
