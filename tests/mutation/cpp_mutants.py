"""Finds the mutants of a C++ file: places where a small mistake can be put in.

The source is not parsed. Comments, strings and preprocessor lines are left alone. A mutant that does not compile counts
as one that cannot be made.
"""

import re
from collections.abc import Callable, Iterator

from mutants import CHANGES, Mutant

LEFT_ALONE = re.compile(
    rb"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|^\s*#(?:\\\n|[^\n])*", re.S | re.M
)
OPERATOR = re.compile(rb"(?<= )([-+*/%<>=!&|^]+)(?= )")
"""Operators have spaces around them in this project, unlike the brackets of templates and the stars of pointers."""
NUMBER = re.compile(rb"(?<![\w.])(\d+)(?![\w.])")
FLOAT = re.compile(rb"(?<![\w.])(\d+\.\d*(?:e-?\d+)?)(f?)(?![\w.])")
STATEMENT = re.compile(
    rb"^[ \t]+(?!return|using|static_assert)([\w.\[\]>()*-]+(?: [-+*/]?= [^;{}\n]+|\([^;{}\n]*\)));$", re.M
)


def cpp_mutants(file: str, source: bytes) -> Iterator[Mutant]:
    """All mutants of a C++ file, in the order of their kinds."""
    masked = LEFT_ALONE.sub(lambda found: re.sub(rb"[^\n]", b"\0", found[0]), source)
    ways: dict[re.Pattern[bytes], Callable[[str], tuple[str, str] | None]] = {
        OPERATOR: CHANGES.get,
        NUMBER: lambda text: ("constant", str(int(text) + 1)),
        FLOAT: lambda text: ("constant", repr(float(text) * 2 or 1.0)),
        STATEMENT: lambda _: ("statement left out", ""),
    }
    for pattern, change in ways.items():
        for found in pattern.finditer(masked):
            if changed := change(found[1].decode()):
                kind, after = changed
                yield Mutant.of(file, source, kind, *found.span(1), after)
