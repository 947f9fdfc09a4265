"""What is quoted in errors: values and texts of any size, so that each problem stays one line that can be read."""

from __future__ import annotations

import math
import reprlib

from auxar.errors import printable

LONGEST_VALUE = 120
LONGEST_LINE = 1500


class _Brief(reprlib.Repr):
    """`repr` that ends: of long and deep values it says how they begin."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = LONGEST_VALUE
        self.maxlist = self.maxtuple = self.maxdict = 4

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write more than some thousands of digits.
        bits = x.bit_length()
        return repr(x) if bits <= 256 else f"≈{'-' if x < 0 else ''}10^{round(bits * math.log10(2))}"


_brief = _Brief()


def shown(value: object) -> str:
    """A value as it is quoted in an error: as Python writes it, cut where it is long.

    Examples:
        >>> shown([1.5, "a", {"b": True}])
        "[1.5, 'a', {'b': True}]"
        >>> shown(list(range(1000)))
        '[0, 1, 2, 3, ...]'
        >>> shown(16**1000)
        '≈10^1204'
    """
    return _brief.repr(value)


def one_line(text: str, most: int = LONGEST_LINE) -> str:
    r"""The text in `most` characters or few more, its middle left out if need be, control characters escaped.

    Examples:
        >>> one_line("training.steps=100")
        'training.steps=100'
        >>> print(one_line("a\nb"))
        a\nb
        >>> one_line("x" * 1000, most=10)
        'xxxxx … xxxxx'
    """
    text = printable(text, but="")
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 2) :]}"


def is_unicode(text: str) -> bool:
    """Whether it can be written to a file: bytes of names and of the command line that are no UTF-8 become what cannot.

    Examples:
        >>> is_unicode("ψ"), is_unicode("\\udcff")
        (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
