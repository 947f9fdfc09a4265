"""A decoder of files in plain Python, written from the docstring of `auxar_codec.container`.

It shares only the networks and heads with auxar.
"""

import json
import lzma
import math
import zlib
from typing import Any

import attrs
import numpy as np
import torch

from auxar import Adjustments
from auxar.model import CONDITION, Values, neighbor_centers, variable_at, with_neighbors

TOTAL = 2**24
DICTIONARY = (
    b'"condition":{"kind":"attributes","kind":"label","values":1,"levels":'
    b'{"format":1,"model":"","digest":"","channels":3,"height":0,"width":0,"levels":256,"lags":[4,4,4]}'
)


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
    content = lzma.decompress(index, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**23}])
    count = int.from_bytes(content[:4], "little")
    *names, columns = content[4:].split(b"\0", count)
    rest = iter(columns)

    def numbers(length: int) -> list[int]:
        planes = [[next(rest) for _ in range(length)] for _ in range(4)]
        return [sum(plane[place] << 8 * byte for byte, plane in enumerate(planes)) for place in range(length)]

    keys = ("gray", "raw", "height", "width", "profile", "exif", "coarse_checksum", "checksum")
    fields = {key: numbers(count) for key in keys}
    found: list[dict[str, Any]] = [
        {"name": name.decode(), **{key: fields[key][number] for key in keys}} for number, name in enumerate(names)
    ]
    for entry in found:
        entry["tile"] = header["height"] or entry["height"], header["width"] or entry["width"]
        sides = zip((entry["height"], entry["width"]), entry["tile"], strict=True)
        entry["rows"], entry["columns"] = (0, 0) if entry["raw"] else (-(-whole // tile) for whole, tile in sides)
        entry["lengths"], entry["condition"] = [], []
    for _ in header["lags"]:
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
    size = int.from_bytes(content[8:10], "little")
    place = 14 + size + int.from_bytes(content[10:14], "little")
    assert zlib.crc32(content[8:place]) == int.from_bytes(content[place : place + 4], "little")
    parts = content[14 : 14 + size], content[14 + size : place]
    place += 4
    header = json.loads(zlib.decompressobj(-15, DICTIONARY).decompress(parts[0]))
    assert header["format"] == 1 or zlib.crc32(content[:-4]) == int.from_bytes(content[-4:], "little")
    found: dict[str, np.ndarray] = {}
    for entry in read_index(parts[1], header)[:most]:
        start, lengths = place, entry["lengths"]
        place += entry["profile"] + entry["exif"]
        if entry["raw"]:
            size = entry["raw"] * entry["height"] * entry["width"]
            values = np.frombuffer(content[place : place + size], np.uint8)
            found[entry["name"]] = values.reshape(entry["height"], entry["width"], entry["raw"]).transpose(2, 0, 1)
            place += size
            assert zlib.crc32(content[start:place]) == entry["coarse_checksum"]
            continue
        own = model.at(*entry["tile"])
        condition = torch.tensor(entry["condition"]).reshape(1, -1, 1, 1) if entry["condition"] else None
        tiles: list[Any] = [None] * len(lengths[0])
        for number, (factor, lag) in enumerate(zip(reversed(own.factors), header["lags"], strict=True)):
            if number == len(header["lags"]) - 1:
                assert zlib.crc32(content[start:place]) == entry["coarse_checksum"]
            for tile, length in enumerate(lengths[number]):
                tiles[tile] = decoded(factor, lag, content[place : place + length], tiles[tile], condition)
                place += length
        rows = [torch.cat(tiles[row * entry["columns"] :][: entry["columns"]], 3) for row in range(entry["rows"])]
        whole = torch.cat(rows, 2)[0, : 1 if entry["gray"] else None, : entry["height"], : entry["width"]]
        found[entry["name"]] = whole.numpy()
        assert zlib.crc32(whole.permute(1, 2, 0).byte().contiguous().numpy().tobytes()) == entry["checksum"]
    return found


@torch.no_grad()
def decoded(factor: Any, lag: int, stream: bytes, view: Any, condition: Any) -> torch.Tensor:
    """Decodes the image of one factor given its view and condition, in bands of rows."""
    decoder, image = RangeDecoder(stream), torch.zeros(1, *factor.image.shape, dtype=torch.int64)
    _, height, width = factor.image.shape
    scale = 1 if view is None else -(-height // view.shape[2])
    unit = math.lcm(16, scale)
    size = max(4 * unit, 2**15 // width // unit * unit) if factor.any_size else height
    for start in range(0, height, size):
        first, stop = max(0, start - unit), min(start + size, height)
        bottom = min(stop + unit, height)
        part = at_height(factor, stop - first)
        own, around = (
            None if view is None else view[:, :, first // scale : -(-end // scale)] for end in (stop, bottom)
        )
        part_around = at_height(factor, bottom - first)
        features = part_around.given(Values({variable_at(factor.depth + 1): around, CONDITION: condition}, 1)).features
        features = None if features is None else features[:, :, : stop - first]
        decode_band(decoder, part, image[:, :, first:stop], start - first, features, own, lag)
    return image


def at_height(factor: Any, height: int) -> Any:
    """The factor of images of another height."""
    return factor if height == factor.image.height else factor.at(attrs.evolve(factor.image, height=height))


def decode_band(
    decoder: RangeDecoder, factor: Any, image: torch.Tensor, known: int, features: Any, view: Any, lag: int
) -> None:
    """Decodes the rows of an image from row `known` on into it. The network runs on the whole image each time."""
    network, (channels, height, width) = factor.network, factor.image.shape
    places = sorted(np.ndindex(height, width), key=lambda place: (place[0] * min(lag, width) + place[1], place[0]))
    for row, column in (place for place in places if place[0] >= known):
        parameters = network(network.encode(image), features)[:, :, row, column]
        if network.head.centered:
            whole = neighbor_centers(image, factor.image.levels)
            centers = whole if view is None else factor.view.support.centers(image, view)
            if network.head.neighbors:
                centers = with_neighbors(centers, image, factor.image.levels)
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
