"""Tests that functions read their arguments and variables, so that no option is ignored and no value forgotten."""

import ast
from collections.abc import Iterator

from test_import_order import MODULES

DICTATED = {
    "__array__": {"copy"},
    "__call__": {"option"},
    "__deepcopy__": {"memo"},
    "__exit__": {"exception"},
    "__torch_function__": {"types"},
    "_fits": {"attribute"},
    "_hard_sigmoid": {"inplace"},
    "_hard_swish": {"inplace"},
    "_interrupted": {"frame", "number"},
    "_is_beside": {"attribute"},
    "_leaky_relu": {"inplace"},
    "_leave_signals": {"worker"},
    "_like_gradients": {"x", "options"},
    "_path": {"kind"},
    "finite": {"instance"},
    "handle": {"frame"},
    "integer": {"instance"},
    "preprocess": {"name", "filename"},
    "repr_int": {"level"},
}
"""Arguments of functions that a caller gives, and that are not needed."""


def functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """The functions of a module and of its classes, without functions in functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield child
        elif isinstance(child, ast.ClassDef | ast.If | ast.Try):
            yield from functions(child)


def variables(function: ast.FunctionDef) -> tuple[set[str], set[str]]:
    """The names that a function sets, and those that it reads."""
    stored, read = set[str](), set[str]()
    for node in (node for part in function.body for node in ast.walk(part)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            read.add(node.target.id)
        elif isinstance(node, ast.Global):
            read.update(node.names)
    return stored, read


def test_arguments_and_variables_are_read():
    """An argument is read if one of the methods with its name reads it."""
    unread: dict[tuple[str, str], str] = {}
    used = {(name, argument) for name, arguments in DICTATED.items() for argument in arguments}
    for module, file in MODULES.items():
        for function in functions(ast.parse(file.read_text(encoding="utf-8"))):
            stored, read = variables(function)
            forgotten = {name for name in stored - read if not name.startswith("_")}
            assert not forgotten, (module, function.name)
            used |= {(function.name, name) for name in read}
            # Methods without a body are for subclasses.
            if not all(isinstance(part, ast.Expr | ast.Raise) for part in function.body):
                given = function.args
                every = *given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg
                names = {argument.arg for argument in every if argument is not None}
                unread |= {(function.name, name): module for name in names if name not in ("self", "cls", "_")}
    assert {key: module for key, module in unread.items() if key not in used} == {}
