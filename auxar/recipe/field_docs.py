"""Docstrings of the fields of attrs classes, which describe the keys of recipes."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap


def field_docs(cls: type) -> dict[str, str]:
    """Returns the docstrings of a class's fields by field name, each as one line.

    The docstring of a field is the string below it in the source, in the class itself or in a class that it inherits
    from. A class whose source is not available has no such docstrings.
    """
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        docs |= _own_field_docs(base)
    return docs


def class_summary(cls: type) -> str:
    """Returns the first paragraph of a class's docstring as one line, or "" if it has none."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].split())


def _own_field_docs(cls: type) -> dict[str, str]:
    try:
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # There is no source, or it is not that of a class.
        return {}
    docs = {}
    statements = definition.body if isinstance(definition, ast.ClassDef) else []
    for statement, below in itertools.pairwise(statements):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            docs[ast.unparse(statement.target)] = " ".join(str(below.value.value).split())
    return docs
