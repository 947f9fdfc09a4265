"""Compiles the native engine's C++ files once on each kind of machine. The user's cache folder keeps the library."""

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
# -fno-math-errno and -fno-trapping-math let the compiler vectorize loops with rounding and comparisons. Unlike
# -ffast-math, they do not change the order of sums.
FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-fPIC", "-shared")


def library() -> ctypes.CDLL:
    """The loaded library, compiled if needed. Raises `UnavailableError` if it cannot be compiled or loaded."""
    made = attempt()
    if isinstance(made, str):
        raise UnavailableError(made)
    return made


@functools.cache
def attempt() -> ctypes.CDLL | str:
    """The loaded library, or the reason why it is unavailable.

    The result is cached, so that a compiler that fails is not run again for every batch.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    compiler = named or [found for found in map(shutil.which, ("c++", "g++", "clang++")) if found][:1]
    if not compiler:
        return "no C++ compiler was found; install c++, g++ or clang++, or set CXX"
    flags = [*FLAGS, *_machine_flags()]
    read = [source.read_text() for source in SOURCES]
    key = hashlib.sha256("\0".join([*read, *compiler, *flags, _processor()]).encode()).hexdigest()[:24]
    try:
        path = _cache() / f"sampler-{key}.so"
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                logger.info("compiling the samplers' native engine; this happens once on each kind of machine")
                _compile([*compiler, *flags, *(str(one) for one in SOURCES if one.suffix == ".cpp")], path)
        loaded = ctypes.CDLL(str(path))
        if names := differing(loaded):
            return f"the compiled library and structures.py differ in the structures: {', '.join(names)}"
        return loaded
    except UnavailableError as error:
        return str(error)
    except (OSError, RuntimeError) as error:  # `Path.home` raises RuntimeError for a user without a home folder.
        return f"the C++ library cannot be compiled or loaded: {error}"


def _compile(command: list[str], path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".so", delete=False) as file:
        temporary = Path(file.name)
    try:
        result = subprocess.run([*command, "-o", str(temporary)], capture_output=True, text=True, check=False)
        if result.returncode:
            raise UnavailableError(f"the C++ compiler {command[0]} failed: {result.stderr.strip()[-500:]}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _cache() -> Path:
    """The cache folder. It is made with access for this user only, because code is loaded from it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "auxar"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _machine_flags() -> list[str]:
    if platform.machine() in ("x86_64", "AMD64"):
        return ["-march=native", "-mprefer-vector-width=512"]
    return ["-mcpu=native"]


def _processor() -> str:
    """A description of the processor for the key of the cached library.

    A home folder may be shared by machines with different processors.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
