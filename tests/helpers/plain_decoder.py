"""A decoder of files in plain Python, written from docs/files.md. It shares only the networks and heads with auxar."""

from __future__ import annotations

import json
import lzma
import zlib
from typing import Any

import numpy as np
import torch

from auxar import DrawRule

TOTAL = 2**24


class RangeDecoder:
    """The decoder of one stream."""

    def __init__(self, stream: bytes) -> None:
        self.bytes = iter(stream)
        self.width = 2**64 - 1
        self.code = 0
        for _ in range(8):
            self.read()

    def read(self) -> None:
        self.code = (self.code * 256 + next(self.bytes, 0)) % 2**64

    def value(self, below: Any, low: int, high: int) -> int:
        """Decodes a value in low … high. `below` returns the sum of the frequencies of all lower values."""
        scale = self.width // TOTAL
        target = min(self.code // scale, TOTAL - 1)
        value = max(each for each in range(low, high + 1) if below(each) <= target)
        self.code -= below(value) * scale
        self.width = (below(value + 1) - below(value)) * scale
        while self.width < 2**56:
            self.read()
            self.width *= 256
        return value


def images_of(index: bytes, factors: int, values: int) -> list[tuple[str, list[int], int, int, list[int]]]:
    """The name, the lengths of the streams, the two checksums and the condition of each image, which has one tile."""
    content = lzma.decompress(index)
    count = int.from_bytes(content[:4], "little")
    *names, columns = content[4:].split(b"\0", count)
    found = []
    for image, name in enumerate(names):
        numbers = [
            sum(columns[count * (4 * column + byte) + image] << 8 * byte for byte in range(4))
            for column in range(7 + factors + values)
        ]
        gray, _, _, profile, exif, coarse_checksum, checksum, *rest = numbers
        lengths, condition = rest[:factors], [value - 1 for value in rest[factors:]]
        assert gray == profile == exif == 0
        found.append((name.decode(), lengths, coarse_checksum, checksum, condition))
    return found


def decoded_images(content: bytes, model: Any, most: int) -> dict[str, np.ndarray]:
    """Decodes the first `most` images of a file, which have the size of the model and no metadata."""
    assert content[:8] == b"\x89AUXAR\r\n"
    parts, place = [], 8
    for _ in range(2):
        size = int.from_bytes(content[place : place + 4], "little")
        parts.append(content[place + 4 : place + 4 + size])
        assert zlib.crc32(parts[-1]) == int.from_bytes(content[place + 4 + size : place + 8 + size], "little")
        place += 8 + size
    header = json.loads(parts[0])
    found: dict[str, np.ndarray] = {}
    values = header.get("condition", {}).get("values", 0)
    for name, lengths, coarse_checksum, checksum, given in images_of(parts[1], len(header["factors"]), values)[:most]:
        condition = torch.tensor(given).reshape(1, -1, 1, 1) if given else None
        assert zlib.crc32(content[place : place + sum(lengths[:-1])]) == coarse_checksum
        image = None
        for factor, length in zip(header["factors"], lengths, strict=True):
            image = decoded(model, factor, content[place : place + length], image, condition)
            place += length
        assert image is not None
        found[name] = image[0].numpy()
        assert zlib.crc32(found[name].transpose(1, 2, 0).astype(np.uint8).tobytes()) == checksum
    return found


@torch.no_grad()
def decoded(model: Any, description: dict[str, Any], stream: bytes, view: Any, condition: Any) -> torch.Tensor:
    """Decodes the image of one factor given its view and condition. The network runs on the whole image each time."""
    factor = next(each for each in model.factors if each.name == description["name"])
    part = factor.prior if view is None else factor.decoder
    network = getattr(part, "decoder", part).network
    features = None if view is None else factor.features(view, condition)
    if view is None and factor.condition is not None:
        features = part.conditioning(condition, 1)
    channels, height, width = factor.image.shape
    decoder, image = RangeDecoder(stream), torch.zeros(1, channels, height, width, dtype=torch.int64)
    lag = description["lag"]
    for row, column in sorted(np.ndindex(height, width), key=lambda place: (place[0] * lag + place[1], place[0])):
        parameters = network(network.encode(image), features)[:, :, row, column]
        frequencies = network.head.frequencies(parameters, DrawRule("ancestral"))
        for channel in range(channels):
            low, high = 0, factor.image.levels - 1
            if view is not None and factor.restricted:
                interval = factor.view.support.intervals(image, view)
                low, high = (int(each[0, channel, row, column]) for each in (interval.low, interval.high))
            value = low
            if low < high:
                ends = torch.tensor([low]), torch.tensor([high])
                table = frequencies.below(torch.arange(low, high + 2)[None], *ends)[0].tolist()
                value = decoder.value(lambda each, table=table, low=low: table[each - low], low, high)
            image[0, channel, row, column] = value
            frequencies.take(torch.tensor([value]))
    return image
