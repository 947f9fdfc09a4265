"""The one error a user sees, a mistake in what was asked, and how values and texts are quoted in it."""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Iterable

LONGEST_VALUE = 120
LONGEST_LINE = 1500


class UserError(Exception):
    """A mistake the user can mend. The message names the key, file or value, and what was expected."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Text to append to an error about an unknown name: the nearest choice and all known ones."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{hint} (known: {', '.join(known) or 'none'})"


def printable(text: str, but: str = "\n\t") -> str:
    """The text for a terminal: characters that control one, which files of strangers may hold, are shown as escapes.

    Those in `but` stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in but else c.encode("unicode_escape").decode() for c in text)


class _Brief(reprlib.Repr):
    """A bounded `repr`, which cuts long and deep values after their beginning."""

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
    """Whether the text can be encoded as UTF-8, unlike file names and arguments that hold bytes of another encoding.

    Examples:
        >>> is_unicode("ψ"), is_unicode("\\udcff")
        (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
