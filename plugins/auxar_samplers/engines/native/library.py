"""Compiles the C++ sources once on a machine and keeps the library in the user's cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from auxar_samplers.engines.base import UnavailableError
from auxar_samplers.engines.native.structures import differing

logger = logging.getLogger("auxar")

SOURCES = tuple(Path(__file__).parent / name for name in ("program.cpp", "drawing.cpp", "functions.h", "structures.h"))
# Without traps and errno a loop of rounding and comparisons runs on vectors; sums keep their order.
FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-shared")


def library() -> ctypes.CDLL:
    """The library, compiled if this machine has not done so before. Raises `UnavailableError` if that is impossible."""
    made = attempt()
    if isinstance(made, str):
        raise UnavailableError(made)
    return made


@functools.cache
def attempt() -> ctypes.CDLL | str:
    """The library, or why there is none: a compiler that fails is not run again for every batch."""
    named = shlex.split(os.environ.get("CXX", ""))
    compiler = named or [found for found in map(shutil.which, ("c++", "g++", "clang++")) if found][:1]
    if not compiler:
        return "there is no C++ compiler"
    flags = [*FLAGS, *_machine_flags()]
    read = [source.read_text() for source in SOURCES]
    key = hashlib.sha256("\0".join([*read, *compiler, *flags, _processor()]).encode()).hexdigest()[:24]
    try:
        path = _cache() / f"sampler-{key}.so"
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                logger.info("compiling the samplers' native engine, once on this machine")
                _compile([*compiler, *flags, *(str(one) for one in SOURCES if one.suffix == ".cpp")], path)
        loaded = ctypes.CDLL(str(path))
        if names := differing(loaded):
            return f"its library has other structures than expected: {', '.join(names)}"
        return loaded
    except UnavailableError as error:
        return str(error)
    except (OSError, RuntimeError) as error:  # `Path.home` raises the latter for a user without one.
        return f"its library cannot be made or loaded: {error}"


def _compile(command: list[str], path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".so", delete=False) as file:
        temporary = Path(file.name)
    try:
        result = subprocess.run([*command, "-o", str(temporary)], capture_output=True, text=True, check=False)
        if result.returncode:
            raise UnavailableError(f"{command[0]} fails: {result.stderr.strip()[-500:]}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _cache() -> Path:
    """A folder of this user's alone: code is loaded from it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "auxar"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _machine_flags() -> list[str]:
    if platform.machine() in ("x86_64", "AMD64"):
        return ["-march=native", "-mprefer-vector-width=512"]
    return ["-mcpu=native"]


def _processor() -> str:
    """What the library is compiled for: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
