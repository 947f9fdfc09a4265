"""A decoder of files in plain Python, written from the docstring of `auxar_codec.container`.

It shares only the networks and heads with auxar.
"""

from __future__ import annotations

import json
import lzma
import zlib
from typing import Any

import numpy as np
import torch

from auxar import Adjustments
from auxar.model import neighbor_centers

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


def read_index(index: bytes, header: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of an index: names, sizes, lengths of streams by factor and tile, checksums and conditions."""
    content = lzma.decompress(index)
    count = int.from_bytes(content[:4], "little")
    *names, columns = content[4:].split(b"\0", count)
    rest = iter(columns)

    def numbers(length: int) -> list[int]:
        planes = [[next(rest) for _ in range(length)] for _ in range(4)]
        return [sum(plane[place] << 8 * byte for byte, plane in enumerate(planes)) for place in range(length)]

    keys = ("gray", "height", "width", "profile", "exif", "coarse_checksum", "checksum")
    fields = {key: numbers(count) for key in keys}
    found: list[dict[str, Any]] = [
        {"name": name.decode(), **{key: fields[key][number] for key in keys}} for number, name in enumerate(names)
    ]
    for entry in found:
        entry["rows"], entry["columns"] = -(-entry["height"] // header["height"]), -(-entry["width"] // header["width"])
        entry["lengths"], entry["condition"] = [], []
    for _ in header["factors"]:
        lengths = iter(numbers(sum(entry["rows"] * entry["columns"] for entry in found)))
        for entry in found:
            entry["lengths"].append([next(lengths) for _ in range(entry["rows"] * entry["columns"])])
    for _ in range(header.get("condition", {}).get("values", 0)):
        for entry, value in zip(found, numbers(count), strict=True):
            entry["condition"].append(value - 1)
    assert next(rest, None) is None
    return found


def decoded_images(content: bytes, model: Any, most: int) -> dict[str, np.ndarray]:
    """Decodes the first `most` images of a file: (c, height, width), with one channel if an image is gray."""
    assert content[:8] == b"\x89AUXAR\r\n"
    parts, place = [], 8
    for _ in range(2):
        size = int.from_bytes(content[place : place + 4], "little")
        parts.append(content[place + 4 : place + 4 + size])
        assert zlib.crc32(parts[-1]) == int.from_bytes(content[place + 4 + size : place + 8 + size], "little")
        place += 8 + size
    header = json.loads(parts[0])
    found: dict[str, np.ndarray] = {}
    for entry in read_index(parts[1], header)[:most]:
        start, lengths = place, entry["lengths"]
        place += entry["profile"] + entry["exif"]
        condition = torch.tensor(entry["condition"]).reshape(1, -1, 1, 1) if entry["condition"] else None
        tiles: list[Any] = [None] * len(lengths[0])
        for factor, of_factor in zip(header["factors"], lengths, strict=True):
            if factor is header["factors"][-1]:
                assert zlib.crc32(content[start:place]) == entry["coarse_checksum"]
            for tile, length in enumerate(of_factor):
                tiles[tile] = decoded(model, factor, content[place : place + length], tiles[tile], condition)
                place += length
        rows = [torch.cat(tiles[row * entry["columns"] :][: entry["columns"]], 3) for row in range(entry["rows"])]
        whole = torch.cat(rows, 2)[0, : 1 if entry["gray"] else None, : entry["height"], : entry["width"]]
        found[entry["name"]] = whole.numpy()
        assert zlib.crc32(whole.permute(1, 2, 0).byte().contiguous().numpy().tobytes()) == entry["checksum"]
    return found


@torch.no_grad()
def decoded(model: Any, description: dict[str, Any], stream: bytes, view: Any, condition: Any) -> torch.Tensor:
    """Decodes the image of one factor given its view and condition. The network runs on the whole image each time."""
    factor = next(each for each in model.factors if each.name == description["name"])
    network, features = factor.network, factor.features(1, view, condition)
    channels, height, width = factor.image.shape
    decoder, image = RangeDecoder(stream), torch.zeros(1, channels, height, width, dtype=torch.int64)
    lag = description["lag"]
    for row, column in sorted(np.ndindex(height, width), key=lambda place: (place[0] * lag + place[1], place[0])):
        parameters = network(network.encode(image), features)[:, :, row, column]
        if network.head.centered:
            whole = neighbor_centers(image, factor.image.levels)
            centers = whole if view is None else factor.view.support.centers(image, view)
            parameters = network.head.around(parameters, centers[:, :, row, column])
        frequencies = network.head.frequencies(parameters, Adjustments())
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
