"""Finds the places of a Python file where a small mistake can be put in: its mutants.

A mutant replaces a few bytes of the source. Docstrings, annotations, imports and the words of messages are left alone,
because mistakes in them change no behavior.
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise

from mutants import Mutant

COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "&"),
}
KEY = re.compile(r"[\w.-]+")
"""Strings of this form are names or keys. Other strings are words for people."""
SAYING = {"debug", "info", "warning", "error", "warn", "UserError", "DamagedFile", "print"}
"""Functions and errors whose arguments are words for people."""


class Finder(ast.NodeVisitor):
    """Collects the mutants of one file."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file = file
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.found: list[Mutant] = []

    # Positions and replacements

    def start(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        return self.source[self.start(node) : self.end(node)].decode()

    def add(self, kind: str, start: int, end: int, after: str) -> None:
        line = self.source[:start].count(b"\n") + 1
        last = self.source[:end].count(b"\n") + 1
        before = self.source[start:end].decode()
        self.found.append(Mutant(self.file, line, last, kind, start, end, before, after))

    def replace(self, kind: str, node: ast.expr | ast.stmt, after: str) -> None:
        self.add(kind, self.start(node), self.end(node), after)

    def between(self, kind: str, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        """Replaces the operator `old`, which stands between two expressions."""
        gap = self.source[self.end(left) : self.start(right)].decode()
        found = re.search(rf"(?<![\w]){re.escape(old)}(?![\w])" if old[0].isalpha() else re.escape(old), gap)
        if found and "#" not in gap[: found.start()]:
            start = self.end(left) + len(gap[: found.start()].encode())
            self.add(kind, start, start + len(old), new)

    # Parts that are left alone

    def body(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                self.visit(statement)  # A statement that is only a constant is a docstring or an ellipsis.

    def visit_Module(self, node: ast.Module) -> None:
        self.body(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.body(node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        for decorator in node.decorator_list:
            if self.text(decorator) in ("torch.no_grad()", "torch.inference_mode()", "contextlib.contextmanager"):
                continue  # Without these decorators, nothing works or nothing changes.
            self.visit(decorator)
        self.body(node.body)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        pass

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass  # Positions inside f-strings are not reliable before Python 3.12, and most are words for people.

    # Mistakes in expressions

    def visit_Compare(self, node: ast.Compare) -> None:
        for operator, (left, right) in zip(node.ops, pairwise([node.left, *node.comparators]), strict=True):
            old, new = COMPARISONS[type(operator)]
            self.between("comparison", left, right, old, new)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in ARITHMETIC and not isinstance(node.left, ast.JoinedStr):
            self.between("operator", node.left, node.right, *ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            self.between("condition", left, right, old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
            self.replace("operator", node, f"({self.text(node.operand)})")
        if not isinstance(node.operand, ast.Constant):
            self.visit(node.operand)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.replace("constant", node, str(not value))
        elif isinstance(value, int):
            self.replace("constant", node, str(value + 1))
            if value > 0:
                self.replace("constant", node, str(value - 1))
        elif isinstance(value, float):
            self.replace("constant", node, repr(value * 2 if value else 1.0))
        elif isinstance(value, str) and KEY.fullmatch(value) and self.text(node)[0] in "\"'":
            self.replace("key", node, repr(f"{value}x"))

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for condition in node.ifs:
            self.negate(condition)
        self.generic_visit(node)

    def negate(self, test: ast.expr) -> None:
        self.replace("condition", test, f"(not ({self.text(test)}))")

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.generic_visit(node)
        if isinstance(node.slice, ast.Tuple) and len(node.slice.elts) > 1:
            self.swap("axes", node.slice.elts)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in SAYING:
            return
        if not any(isinstance(argument, ast.Starred) for argument in node.args):
            self.swap("arguments", node.args)
        for keyword in node.keywords:
            if keyword.arg is not None:
                end = self.end(keyword)
                comma = re.match(rb"\s*,", self.source[end:])
                self.add("argument left out", self.start(keyword), end + (comma.end() if comma else 0), "")
        self.generic_visit(node)

    def swap(self, kind: str, values: list[ast.expr]) -> None:
        """Swaps neighboring values, unless they are equal."""
        for left, right in pairwise(values):
            first, second = self.text(left), self.text(right)
            if first != second and not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
                middle = self.source[self.end(left) : self.start(right)].decode()
                self.add(kind, self.start(left), self.end(right), second + middle + first)

    # Mistakes in statements

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self.negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        called = node.value.func if isinstance(node.value, ast.Call) else None
        if getattr(called, "attr", getattr(called, "id", "")) not in SAYING and isinstance(node.value, ast.Call):
            self.replace("statement left out", node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        # Without the assignment of a new name, the next use of the name fails, which every test notices.
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            self.replace("statement left out", node, "pass")
        if not any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.replace("statement left out", node, "pass")
        if type(node.op) in ARITHMETIC:
            old, new = ARITHMETIC[type(node.op)]
            self.between("operator", node.target, node.value, f"{old}=", f"{new}=")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.replace("statement left out", node, "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.replace("statement left out", node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self.replace("statement left out", node, "pass")

    def visit_Delete(self, node: ast.Delete) -> None:
        self.replace("statement left out", node, "pass")


def python_mutants(file: str, source: bytes) -> list[Mutant]:
    """All mutants of a Python file, some of which `is_python` refuses."""
    finder = Finder(file, source)
    finder.visit(ast.parse(source))
    return finder.found


def is_python(source: bytes) -> bool:
    """Whether a source is valid Python."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True
