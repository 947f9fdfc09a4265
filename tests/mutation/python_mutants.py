"""Finds the places of a Python file where a small mistake can be put in: its mutants.

A mutant replaces a few bytes of the source. Docstrings, annotations, imports and the words of messages are left alone,
because mistakes in them change no behavior.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from mutants import CHANGES, Mutant

KEY = re.compile(r"[\w.-]+")
"""Strings of this form are names or keys. Other strings are words for people."""
SAYING = {"debug", "info", "warning", "error", "warn", "UserError", "DamagedFile", "print"}
"""Functions and errors whose arguments are words for people."""
DECORATORS = {"torch.no_grad()", "torch.inference_mode()", "contextlib.contextmanager"}
"""Without these decorators, nothing works or nothing changes."""
Place = ast.expr | ast.stmt | ast.keyword
Mistake = tuple[str, Place, Place, str]
"""A kind of mistake, the first and the last node that it replaces, and what stands there then."""


def python_mutants(file: str, source: bytes) -> list[Mutant]:
    """All mutants of a Python file, some of which `is_python` refuses."""
    finder, found = Finder(source), []
    for node in _nodes(ast.parse(source)):
        changes = [(kind, *finder.span(first, last), after) for kind, first, last, after in finder.mistakes(node)]
        for kind, start, end, after in [*changes, *finder.operators(node)]:
            if kind == "argument left out" and (comma := re.match(rb"\s*,", source[end:])):
                end += comma.end()
            found.append(Mutant.of(file, source, kind, start, end, after))
    return found


def is_python(source: bytes) -> bool:
    """Whether a source is valid Python."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all nodes in it, without what is left alone."""
    if not _left_alone(node):
        yield node
        for child in _children(node):
            yield from _nodes(child)


def _left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.JoinedStr():  # Positions in f-strings are not reliable before Python 3.12, and most are for people.
            return True
        case ast.Expr(value=ast.Constant()):  # a docstring or an ellipsis
            return True
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name in SAYING
        case ast.Expr(value=ast.Call() as call):
            return _left_alone(call)
    return False


def _children(node: ast.AST) -> Iterable[ast.AST]:
    """The parts of a node that may hold mistakes."""
    match node:
        case ast.Raise() | ast.Delete() | ast.UnaryOp(operand=ast.Constant()):
            return []
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return []
        case ast.AnnAssign():
            return [node.value] if node.value is not None else []
        case ast.ClassDef():
            return node.body
        case ast.FunctionDef():
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            return [
                *defaults,
                *(each for each in node.decorator_list if ast.unparse(each) not in DECORATORS),
                *node.body,
            ]
    return ast.iter_child_nodes(node)


class Finder:
    """Finds the mistakes that can be made in a node of a source."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.starts = [0, *itertools.accumulate(map(len, source.splitlines(keepends=True)))]

    def span(self, first: Place, last: Place) -> tuple[int, int]:
        """The bytes from the beginning of one node to the end of another."""
        assert last.end_lineno is not None
        assert last.end_col_offset is not None
        start = self.starts[first.lineno - 1] + first.col_offset
        return start, self.starts[last.end_lineno - 1] + last.end_col_offset

    def text(self, node: Place) -> str:
        return self.source[slice(*self.span(node, node))].decode()

    def operators(self, node: ast.AST) -> Iterator[tuple[str, int, int, str]]:
        """The kinds of mistakes in the operators between parts of a node, their bytes, and the other operators."""
        pairs: Iterable[tuple[ast.expr, ast.expr]] = ()
        match node:
            case ast.Compare():
                pairs = pairwise([node.left, *node.comparators])
            case ast.BoolOp():
                pairs = pairwise(node.values)
            case ast.BinOp(left=left, right=right) if not isinstance(left, ast.JoinedStr):
                pairs = [(left, right)]
            case ast.AugAssign():
                pairs = [(node.target, node.value)]
        for left, right in pairs:
            start, end = self.span(left, left)[1], self.span(right, right)[0]
            operator = self.source[start:end].strip(b"() \t\n\\")
            if operator.decode() in CHANGES:  # It is not if there is a comment.
                kind, after = CHANGES[operator.decode()]
                start = self.source.index(operator, start)
                yield kind, start, start + len(operator), after

    def mistakes(self, node: ast.AST) -> Iterator[Mistake]:
        """The other mistakes in a node."""
        match node:
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
                yield "operator", node, node, f"({self.text(node.operand)})"
            case ast.Constant():
                yield from self.constants(node)
            case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                yield self.negated(test)
            case ast.comprehension():
                yield from map(self.negated, node.ifs)
            case ast.Subscript(slice=ast.Tuple(elts=parts)):
                yield from self.swapped("axes", parts)
            case ast.Call():
                if not any(isinstance(argument, ast.Starred) for argument in node.args):
                    yield from self.swapped("arguments", node.args)
                yield from (("argument left out", each, each, "") for each in node.keywords if each.arg is not None)
            case ast.Assign(targets=targets):
                # Without the assignment of a new name, the next use of the name fails, which every test notices.
                if any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets):
                    yield "statement left out", node, node, "pass"
            case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
                yield "statement left out", node, node, "pass"
            case ast.Expr(value=ast.Call()):
                yield "statement left out", node, node, "pass"

    def constants(self, node: ast.Constant) -> Iterator[Mistake]:
        match node.value:
            case bool(value):
                yield "constant", node, node, str(not value)
            case int(value):
                yield from (("constant", node, node, str(value + step)) for step in ((1, -1) if value > 0 else (1,)))
            case float(value):
                yield "constant", node, node, repr(value * 2 or 1.0)
            case str(value) if KEY.fullmatch(value) and self.text(node)[0] in "\"'":
                yield "key", node, node, repr(f"{value}x")

    def negated(self, test: ast.expr) -> Mistake:
        return "condition", test, test, f"(not ({self.text(test)}))"

    def swapped(self, kind: str, values: list[ast.expr]) -> Iterator[Mistake]:
        """Neighboring values in the other order, unless they are equal."""
        for left, right in pairwise(values):
            first, second = self.text(left), self.text(right)
            if first != second and not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
                middle = self.source[self.span(left, left)[1] : self.span(right, right)[0]].decode()
                yield kind, left, right, second + middle + first
