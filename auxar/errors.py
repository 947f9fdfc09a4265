"""`UserError`, for mistakes that a user can correct, the logger, and functions that quote values in messages."""

import contextlib
import difflib
import logging
import math
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path

logger = logging.getLogger("auxar")
"""The logger of the messages of auxar."""
LONGEST_VALUE = 120
"""Maximum number of characters of a string that a message quotes."""
LONGEST_LINE = 1500
"""Default maximum number of characters of `one_line`."""


class UserError(Exception):
    """A mistake that the user can correct. The message names the key, file or value, and says what was expected."""


@contextlib.contextmanager
def naming(place: object) -> Iterator[None]:
    """A context in which each line of a `UserError` begins with a place, such as a file or the key of a recipe.

    Nothing changes if the place is empty.

    Examples:
        >>> with naming("prior"):
        ...     raise UserError("expected a table")
        Traceback (most recent call last):
        auxar.errors.UserError: prior: expected a table
    """
    try:
        yield
    except UserError as error:
        raise UserError("\n".join(f"{place}: {line}" if place else line for line in str(error).split("\n"))) from None


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The end of a message about an unknown name: the most similar known name, if there is one, and all known names."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{hint} (known: {', '.join(known) or 'none'})"


def nearest_path(path: Path) -> str:
    """The end of a message about a missing path: an existing path that is similar to its first missing part.

    It is empty if no name is similar, or if the folder cannot be read.
    """
    try:
        missing = next((part for part in (*reversed(path.parents), path) if not part.exists()), None)
        names = [] if missing is None else [other.name for other in missing.parent.glob("*")]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name if missing is None else missing.name, names, n=1)
    return f"; did you mean '{missing.with_name(near[0])}'?" if missing is not None and near else ""


def printable(text: str, but: str = "\n\t") -> str:
    """Makes a text safe to print: control characters, which untrusted files may contain, are replaced by escapes.

    Characters in `but` are kept.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in but else c.encode("unicode_escape").decode() for c in text)


class _Brief(reprlib.Repr):
    """A `repr` of limited length: parts of long or deeply nested values are replaced by an ellipsis."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = LONGEST_VALUE
        self.maxlist = self.maxtuple = self.maxdict = 4

    def repr_int(self, x: int, level: int) -> str:
        # By default, Python refuses to format integers of more than 4300 digits.
        bits = x.bit_length()
        return repr(x) if bits <= 256 else f"≈{'-' if x < 0 else ''}10^{round(bits * math.log10(2))}"


_brief = _Brief()


def shown(value: object) -> str:
    """The `repr` of a value for an error message, abbreviated if it is long.

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
    r"""The text on one line, with control characters escaped.

    The middle of a text of more than `most` characters is replaced by an ellipsis.

    Examples:
        >>> one_line("training.steps=100")
        'training.steps=100'
        >>> print(one_line("a\nb"))
        a\nb
        >>> one_line("x" * 11, most=10), one_line("x" * 10, most=10)
        ('xxxxx … xxxxx', 'xxxxxxxxxx')
    """
    text = printable(text, but="")
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 2) :]}"


def is_unicode(text: str) -> bool:
    """Whether the text can be encoded as UTF-8. File names and arguments with bytes of another encoding cannot.

    Examples:
        >>> is_unicode("ψ"), is_unicode("\\udcff")
        (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
