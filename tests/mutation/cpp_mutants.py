"""Finds the mutants of a C++ file: places where a small mistake can be put in.

The source is not parsed. Comments, strings and preprocessor lines are left alone. A mutant that does not compile counts
as one that cannot be made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mutants import Mutant

LEFT_ALONE = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|^\s*#(?:\\\n|[^\n])*", re.S | re.M
)
RULES = [
    # Operators have spaces around them in this project, unlike the brackets of templates and the stars of pointers.
    (
        "comparison",
        r"(?<= )(<=|>=|==|!=|<|>)(?= )",
        {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    ),
    ("operator", r"(?<= )(\+|-|\*|/|%)(?= )", {"+": "-", "-": "+", "*": "/", "/": "*", "%": "/"}),
    ("operator", r"(?<= )(\+=|-=|\*=|/=)(?= )", {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*="}),
    ("condition", r"(?<= )(&&|\|\|)(?= )", {"&&": "||", "||": "&&"}),
]
NUMBER = re.compile(r"(?<![\w.])(\d+)(?![\w.])")
FLOAT = re.compile(r"(?<![\w.])(\d+\.\d*(?:e-?\d+)?)(f?)(?![\w.])")
STATEMENT = re.compile(r"^[ \t]+([\w.\[\]>()*-]+(?: [-+*/]?= [^;{}\n]+|\([^;{}\n]*\)));$", re.M)


def cpp_mutants(file: str, source: bytes) -> Iterator[Mutant]:
    """All mutants of a C++ file, in the order of their kinds."""
    text = source.decode()
    masked = LEFT_ALONE.sub(lambda found: re.sub(r"[^\n]", "\0", found[0]), text)

    def mutant(kind: str, start: int, end: int, after: str) -> Mutant:
        line, last = text.count("\n", 0, start) + 1, text.count("\n", 0, end) + 1
        first, stop = len(text[:start].encode()), len(text[:end].encode())
        return Mutant(file, line, last, kind, first, stop, text[start:end], after)

    for kind, pattern, changes in RULES:
        for found in re.finditer(pattern, masked):
            yield mutant(kind, found.start(1), found.end(1), changes[found[1]])
    for found in NUMBER.finditer(masked):
        yield mutant("constant", found.start(1), found.end(1), str(int(found[1]) + 1))
    for found in FLOAT.finditer(masked):
        yield mutant("constant", found.start(1), found.end(1), repr(float(found[1]) * 2 or 1.0))
    for found in STATEMENT.finditer(masked):
        if not found[1].startswith(("return", "using", "static_assert")):
            yield mutant("statement left out", found.start(1), found.end(1), "")
