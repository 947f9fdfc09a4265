"""Mutants: small mistakes that can be put into the code."""

from __future__ import annotations

import hashlib

import attrs

_OPERATORS = {
    "comparison": "< <=, <= <, > >=, >= >, == !=, != ==, is is_not, is_not is, in not_in, not_in in",
    "operator": "+ -, - +, * /, / *, // /, % *, ** *, << >>, >> <<, & |, | &, ^ &",
    "condition": "and or, or and, && ||, || &&",
}
CHANGES = {
    before.replace("_", " "): (kind, after.replace("_", " "))
    for kind, changes in _OPERATORS.items()
    for before, after in (change.split() for change in changes.split(", "))
}
"""The kind of mistake and the mistaken operator for each operator of Python and C++."""
CHANGES |= {f"{before}=": (kind, f"{after}=") for before, (kind, after) in CHANGES.items() if kind == "operator"}


@attrs.frozen
class Mutant:
    """A small mistake that can be put into a file: a few bytes of its source are replaced."""

    file: str
    """The path of the file, relative to the root of the repository."""
    line: int
    """The first line that changes, from 1."""
    last: int
    """The last line of the statement or expression that changes."""
    kind: str
    """The kind of mistake, such as `comparison`."""
    start: int
    end: int
    """The bytes of the source that are replaced: from `start` up to, but not including, `end`."""
    before: str
    after: str

    @classmethod
    def of(cls, file: str, source: bytes, kind: str, start: int, end: int, after: str) -> Mutant:
        """The mutant that replaces some bytes of a file's source."""
        line, last = (source.count(b"\n", 0, place) + 1 for place in (start, end))
        return cls(file, line, last, kind, start, end, source[start:end].decode(), after)

    def applied(self, source: bytes) -> bytes:
        """The source with the mistake."""
        assert source[self.start : self.end] == self.before.encode()
        return source[: self.start] + self.after.encode() + source[self.end :]


def identities(mutants: list[Mutant], source: bytes) -> dict[str, Mutant]:
    """The mutants of one file by a name that stays the same when other lines of the file change.

    The name is a checksum of the file's path, the line, the change, and how many equal changes come before it.
    """
    lines = source.splitlines()
    found: dict[str, Mutant] = {}
    repeated: dict[str, int] = {}
    for mutant in mutants:
        line = lines[mutant.line - 1].strip().decode()
        key = repr((mutant.file, mutant.kind, line, mutant.before, mutant.after))
        repeated[key] = number = repeated.get(key, -1) + 1
        found[hashlib.sha256(f"{key} {number}".encode()).hexdigest()[:12]] = mutant
    return found
