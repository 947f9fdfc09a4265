"""Tests of `auxar compress` in shards, whose files are merged."""

import numpy as np
import pytest
from PIL import Image

import auxar
from auxar import UserError
from auxar.cli import main
from auxar.commands.compress_shards import path_of
from auxar.distributed.shards import Shard


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
        patch.setattr("auxar.commands.compress.write_archive", None)
        assert auxar.compress(run, [images], out, shard="1/2") == made
    # A file of other pictures is not replaced, and not merged.
    other = tmp_path / "other.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(other)
    with pytest.raises(UserError, match=r"a-1-of-2\.auxar exists"):
        auxar.compress(run, [other, images], out, shard="1/2")
    auxar.compress(run, [images], out, shard="2/2")
    with pytest.raises(UserError, match=r"a-1-of-2\.auxar has other pictures than this shard"):
        auxar.compress(run, [other, images], out, merge=2)
    assert not out.exists()
    assert made.path.read_bytes() == before


def test_files_of_shards_are_checked_before_they_are_merged(run, images, tmp_path):
    out = tmp_path / "a.auxar"
    with pytest.raises(
        UserError, match=r"a-1-of-2\.auxar is missing \(2 of 2 shards are\); make it with .* --shard 1/2"
    ):
        auxar.compress(run, [images], out, merge=2)
    for number in (1, 2):
        auxar.compress(run, [images], out, shard=f"{number}/2")
    second = path_of(Shard(2, 2), out)
    whole = second.read_bytes()
    second.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"a-2-of-2\.auxar is damaged: it is cut"):
        auxar.compress(run, [images], out, merge=2)
    second.write_bytes(whole)
    # A picture that has changed in the meantime.
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in images.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    last = auxar.inspect(second).entries[-1]
    Image.fromarray(np.full((last.height, last.width, 3), 7, np.uint8)).save(changed / last.name)
    with pytest.raises(UserError, match=f"a-2-of-2.auxar has another picture '{last.name}'"):
        auxar.compress(run, [changed], out, merge=2)
    assert not out.exists()
    auxar.compress(run, [images], out, merge=2)


def test_wrong_shards_are_one_sentence(run, images, tmp_path, capsys):
    def refused(*options):
        assert main(["compress", str(run), str(images), "-o", str(tmp_path / "a.auxar"), *options]) == 2
        return capsys.readouterr().err

    assert "--shard cannot be combined with --merge" in refused("--shard", "1/2", "--merge", "2")
    count = len(list(images.iterdir()))
    for options in (("--shard", f"1/{count + 1}"), ("--merge", str(count + 1))):
        assert f"expected at most one shard for each of the {count} pictures" in refused(*options)
