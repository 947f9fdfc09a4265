"""A range coder: writes values with given frequencies into bytes, and reads them again.

A coder narrows an interval of integers for each value, in proportion to the value's share of all frequencies (Martin
1979). It holds the interval's lower end and width in 64 bits and writes the leading byte whenever the width falls below
2⁵⁶. The width is divided by `TOTAL`, so a value of frequency f takes log₂(TOTAL / f) bits, up to a fraction of 2⁻³².
"""

from collections.abc import Iterable, Sequence

import numpy as np

TOTAL_BITS = 24
"""Base-2 logarithm of the sum of the frequencies of all values."""
TOTAL = 2**TOTAL_BITS
STATE_BYTES = 8
"""Number of bytes of the lower end and of the width."""
_LEAST = 2**56
_MODULUS = 2**64


def encode(ranges: Iterable[tuple[int, int]]) -> bytes:
    """Encodes values, each given by the cumulative frequency below it and its own frequency.

    Frequencies are positive, and their ranges end at `TOTAL` or below. Zero bytes at the end are left out.

    Examples:
        >>> encode([]), encode([(0, TOTAL // 2)]), encode([(TOTAL // 2, TOTAL // 2)])
        (b'', b'', b'\\x80')
        >>> len(encode([(5, 1)] * 100))  # 100 values of 24 bits
        300
    """
    low, width, written = 0, _MODULUS - 1, bytearray()
    for start, frequency in ranges:
        scale = width >> TOTAL_BITS
        low += start * scale
        width = frequency * scale
        if low >= _MODULUS:
            low -= _MODULUS
            _carry(written)
        while width < _LEAST:
            written.append(low >> 56)
            low = low << 8 & _MODULUS - 1
            width <<= 8
    # The width is at least 2⁵⁶, so a multiple of 2⁵⁶ lies in the interval. Only its highest byte is written.
    low = -(-low // _LEAST) * _LEAST
    if low >= _MODULUS:
        low -= _MODULUS
        _carry(written)
    written.append(low >> 56)
    return bytes(written).rstrip(b"\0")


def _carry(written: bytearray) -> None:
    """Adds 1 to the number that the bytes stand for."""
    place = len(written) - 1
    while written[place] == 255:
        written[place] = 0
        place -= 1
    written[place] += 1


class RangeDecoders:
    """Decoders of several streams, each of which was made by `encode`. A decoder reads zeros after its stream's end.

    For each value, `targets` tells in which range of frequencies it lies, and `take` then goes on to the next value.

    Examples:
        >>> decoders = RangeDecoders([encode([(7, 3), (2, 1)])])
        >>> decoders.targets([0]).item() in range(7, 10)
        True
        >>> decoders.take([0], np.array([7]), np.array([3]))
        >>> decoders.targets([0]).item()
        2
    """

    def __init__(self, streams: Sequence[bytes]) -> None:
        longest = max(map(len, streams), default=0)
        self.bytes = np.zeros((len(streams), longest + STATE_BYTES), dtype=np.uint8)
        """The streams, followed by zeros: (streams, bytes)."""
        for row, stream in zip(self.bytes, streams, strict=True):
            row[: len(stream)] = np.frombuffer(stream, dtype=np.uint8)
        self.next = np.full(len(streams), STATE_BYTES, dtype=np.int64)
        """Position of the next byte of each stream, int64."""
        self.code = self.bytes[:, :STATE_BYTES].copy().view(">u8")[:, 0].astype(np.uint64)
        """The bytes that were read, as a number, minus the lower end of the interval."""
        self.width = np.full(len(streams), _MODULUS - 1, dtype=np.uint64)
        """Width of the interval."""

    def targets(self, chosen: Sequence[int] | np.ndarray) -> np.ndarray:
        """A number in the range of cumulative frequencies of the next value of the chosen streams: int64."""
        scale = self.width[chosen] >> np.uint64(TOTAL_BITS)
        # Only in damaged streams, the quotient is larger than every range.
        found: np.ndarray = np.minimum(self.code[chosen] // scale, TOTAL - 1).astype(np.int64)
        return found

    def take(self, chosen: Sequence[int] | np.ndarray, start: np.ndarray, frequency: np.ndarray) -> None:
        """Takes the values of the chosen streams, given by their cumulative frequencies and frequencies, int64."""
        scale = self.width[chosen] >> np.uint64(TOTAL_BITS)
        code = self.code[chosen] - start.astype(np.uint64) * scale
        width = frequency.astype(np.uint64) * scale
        position, last = self.next[chosen], self.bytes.shape[1] - 1
        while (short := width < _LEAST).any():
            read = np.where(position <= last, self.bytes[chosen, np.minimum(position, last)], 0).astype(np.uint64)
            code = np.where(short, code << np.uint64(8) | read, code)
            width = np.where(short, width << np.uint64(8), width)
            position = position + short
        self.code[chosen], self.width[chosen], self.next[chosen] = code, width, position
