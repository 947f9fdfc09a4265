"""Tests of `auxar.codec`: every kind of picture is kept in memory, in the files that the commands write."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from auxar import UserError
from auxar_codec import codec, compress
from auxar_codec.container import read_container


def test_pictures_in_memory_are_kept_and_are_those_of_a_file(run, images, tmp_path, monkeypatch):
    own = codec(run)
    compress(run, images, tmp_path / "a.auxar")
    assert own.encode(images) == (tmp_path / "a.auxar").read_bytes() == codec(own.model).encode(images)
    assert list(own.decode(tmp_path / "a.auxar", only="1.png", depth=1)) == ["1.png"]
    with torch.device("meta"):
        for call, given in ((own.encode, images), (own.decode, tmp_path / "a.auxar")):
            with pytest.raises(UserError, match="torch makes new tensors on the device 'meta'"):
                call(given)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8))
    photo.save(path := tmp_path / "b.png", exif=(exif := b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"))
    values = np.asarray(photo)
    stored = path.read_bytes()
    kinds = [photo, path, io.BytesIO(stored), stored, values, torch.tensor(values).movedim(-1, 0), values[..., 0]]
    content = pickle.loads(pickle.dumps(own)).encode(kinds, tile="8x8")
    # A tile of the size that was asked for would take minutes and gigabytes.
    header = read_container(own.encode(values, tile="4096x4096")).header
    assert (header.height, header.width) == (9, 12)
    *same, gray = (decoded := own.decode(io.BytesIO(content))).values()
    assert list(decoded) == ["000000.png", "b.png", *(f"00000{number}.png" for number in range(2, 7))]
    assert all(np.array_equal(np.asarray(each), values) for each in same)
    assert np.array_equal(np.asarray(gray), values[..., 0])
    monkeypatch.setattr("auxar.FactorCoder.lag", lambda _: 1)
    with pytest.raises(UserError, match=r"^file: .* lag of at least"):
        own.decode(codec(own.model).encode(images))
    assert [each.info for each in same] == [{}, *[{"exif": exif}] * 3, {}, {}]


def test_a_large_picture_shows_its_progress(run, caplog, monkeypatch):
    own = codec(run)
    monkeypatch.setattr("auxar.progress.BAR_DELAY", 0)
    monkeypatch.setattr("auxar.model.bands.PIXELS", 1)
    with caplog.at_level("INFO", "auxar"):
        own.decode(own.encode(np.zeros((300, 8, 3), np.uint8)))
    assert [f"{what} prior: band 0" in caplog.text for what in ("encoding", "decoding")] == [True, True]
