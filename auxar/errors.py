"""The one error a user sees: a mistake in what was asked, told without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
