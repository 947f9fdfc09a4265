"""Plugin files: Python files that a recipe names, which are code that runs with the user's rights."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from auxar.errors import UserError, did_you_mean, logger, naming, one_line
from auxar.files import is_file, read_bytes

FAILURES = (Exception, SystemExit, GeneratorExit)
"""Exceptions that the code of a plugin may raise. A script that is used as a plugin may raise `SystemExit`."""


def plugin_files(names: Sequence[str], folder: Path, *, trusted: bool, of_a_run: bool = False) -> list[Path]:
    """The paths of the plugin files that a recipe names. Loading a plugin file runs its code with the user's rights.

    `names` is the recipe's list `plugins`, and `folder` the folder of the recipe. This is the only place that decides
    whether the plugin files of a recipe may be loaded, so all commands and functions have the same rule.

    Raises `UserError` if a file does not exist or is not a Python file, and then, if `trusted` is false, if there are
    any files. With `of_a_run`, also raises it if a file is outside of `folder`/plugins, even if `trusted` is true.
    """
    files = [folder / name for name in names]
    for name, file in zip(names, files, strict=True):
        if of_a_run and Path(name).parts != ("plugins", file.name):
            raise UserError(f"plugins: {name} is not in this run's folder plugins/; only plugin files in it are loaded")
        _check_file(file)
    listing = ", ".join(map(str, files))
    if files and not trusted:
        raise UserError(
            f"plugins: this recipe names plugin files, which are code: {listing}; read them, and if you trust them, "
            "add --trust-plugins (in Python: trust_plugins=True)"
        )
    if files:
        logger.info("loading the plugin files %s", listing)
    return files


def read_plugin_file(file: Path) -> bytes:
    """Reads a plugin file. Raises `UserError` if it is missing, cannot be read, or is not a Python file."""
    _check_file(file)
    with naming("plugins"):
        return read_bytes(file)


def load_plugin_file(file: Path, content: bytes) -> ModuleType:
    """Runs the content of a plugin file as a module. Raises `UserError` if the code fails."""
    # The module's name depends on the path, so that two files named views.py do not collide.
    digest = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:12]
    module = ModuleType(f"auxar_plugin_{file.stem}_{digest}")
    module.__file__ = str(file)
    # Annotations that are strings are resolved through `sys.modules`, so the module is registered before it runs.
    sys.modules[module.__name__] = module
    try:
        # The import system is not used, because it could run a cached .pyc file instead of this source.
        exec(compile(content, str(file), "exec"), module.__dict__)  # noqa: S102 (plugin files are code that the user trusts)
    except FAILURES as error:
        del sys.modules[module.__name__]
        raise UserError(f"plugins: {file} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _check_file(file: Path) -> None:
    with naming("plugins"):
        exists = is_file(file)
    if not exists:
        beside = file.parent.glob("*.py") if os.path.isdir(file.parent) else ()
        near = did_you_mean(file.name, (path.name for path in beside))
        raise UserError(f"plugins: {one_line(str(file))} does not exist{near}")
    if file.suffix != ".py":
        raise UserError(f"plugins: {file} is not a Python file; expected a name that ends in .py")
