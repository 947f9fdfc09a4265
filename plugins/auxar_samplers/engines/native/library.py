"""The C++ library of the native engine, compiled once on each kind of machine, and its structures for `ctypes`.

The library is code, so it is loaded only from a folder that no other user can write to, and only if its content matches
the checksum in its name.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from auxar import UserError, holding, replacing
from auxar_samplers.engines.base import BrokenError, logger

SOURCES = tuple(sorted(path for path in Path(__file__).parent.iterdir() if path.suffix in (".cpp", ".h")))
# -fno-math-errno and -fno-trapping-math let the compiler vectorize loops with rounding and comparisons. Unlike
# -ffast-math, they do not change the order of sums.
FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-pthread", "-fPIC", "-shared")
X86_FLAGS = ("-march=native", "-mprefer-vector-width=512")
NUMBER, ADDRESS = ctypes.c_int64, ctypes.c_void_p
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "names": (ctypes.c_char_p, (NUMBER,)),
    "most_operands": (NUMBER, ()),
    "rows_at_once": (NUMBER, ()),
    "most_inputs_of_words": (NUMBER, ()),
    "bytes_of_weights": (NUMBER, (NUMBER, NUMBER)),
    "pack_weights": (NUMBER, (ADDRESS, NUMBER, NUMBER, ADDRESS)),
    "convert_to_words": (NUMBER, (ADDRESS, NUMBER, ADDRESS)),
    "compute_images": (NUMBER, (ADDRESS, NUMBER)),
    "compute_ranges": (None, (ADDRESS, ADDRESS, NUMBER)),
    "encode": (NUMBER, (ADDRESS, NUMBER, ADDRESS)),
    "tiles": (NUMBER, (NUMBER, NUMBER, NUMBER)),
    **{f"padded_outputs_{dtype}": (NUMBER, (NUMBER,)) for dtype in ("float", "double")},
    **{f"pack_{dtype}": (None, (ADDRESS, NUMBER, NUMBER, ADDRESS)) for dtype in ("float", "double")},
    **{f"run_{dtype}": (None, (ADDRESS, NUMBER, NUMBER)) for dtype in ("float", "double")},
}
"""The results and the arguments of the library's functions: numbers and addresses."""
ENGINE = "the samplers' native engine"
REMEDY = "set XDG_CACHE_HOME to a folder of your own"


def library() -> ctypes.CDLL:
    """The loaded library, compiled if needed. Raises `BrokenError` if it cannot be compiled or loaded."""
    return compiled("", ENGINE)


def compiled(code: str | Path, name: str) -> ctypes.CDLL:
    """The loaded library of other C++17 code, which may include the engine's headers. `name` is for messages.

    `code` is the code itself or the path of a file, which may also include headers in its own folder. It is compiled
    once on each kind of machine. Raises `BrokenError` if it cannot be compiled or loaded.
    """
    made = attempt(code, name)
    if isinstance(made, str):
        raise BrokenError(made)
    return made


@functools.cache
def attempt(code: str | Path, name: str) -> ctypes.CDLL | str:
    """The loaded library of some C++ code, or of the engine's own if it is empty, or the reason why it is unavailable.

    The result is cached, so that a compiler that fails is not run again for every batch.
    """
    try:
        named, machine = (shlex.split(os.environ.get(name, "")) for name in ("CXX", "AUXAR_CXXFLAGS"))
    except ValueError as error:
        return f"CXX or AUXAR_CXXFLAGS is not a command line: {error}"
    compiler = named or [found for found in map(shutil.which, ("c++", "g++", "clang++")) if found][:1]
    if not compiler:
        return "no C++ compiler was found; install c++, g++ or clang++, or set CXX"
    usual = X86_FLAGS if platform.machine() in ("x86_64", "AMD64") else ("-mcpu=native",)
    flags = [*FLAGS, *(machine or usual)]
    files, text = SOURCES, ""
    arguments = [str(one) for one in SOURCES if one.suffix == ".cpp"]
    if isinstance(code, Path):
        files = (*SOURCES, code, *sorted(code.parent.glob("*.h")))
        arguments = ["-I", str(Path(__file__).parent), str(code)]
    elif code:
        text, arguments = code, ["-I", str(Path(__file__).parent), "-x", "c++", "-"]
    try:
        read = [file.read_text(encoding="utf-8") for file in files]
        parts = "\0".join([*read, text, *compiler, *flags, _processor()])
        key = hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return _cached([*compiler, *flags, *arguments], key, text, name)
    except BrokenError as error:
        return str(error)
    except (OSError, AttributeError, UserError) as error:  # ctypes raises AttributeError for a missing function.
        return f"the C++ library cannot be stored or loaded: {error}"


def _cached(command: list[str], key: str, code: str, name: str) -> ctypes.CDLL:
    """Loads the library from the cache folder, or from a temporary folder if the cache folder cannot be used."""
    try:
        with _cache() as folder:
            return _loaded(folder, command, key, code, name)
    except UserError as error:
        logger.warning("%s is compiled in a private temporary folder, for this process alone: %s", name, error)
    with tempfile.TemporaryDirectory(prefix="auxar-") as temporary:
        return _loaded(Path(temporary), command, key, code, name)


@contextlib.contextmanager
def _cache() -> Iterator[Path]:
    """Yields a path to the cache folder. Nobody but this user can change its files, because code is loaded from them.

    Raises `UserError` if the folder cannot be made, is a link, or is not this user's alone, and for errors of reading
    or writing within the block.
    """
    try:
        # The XDG specification says that relative paths are ignored. They would lead into the current folder.
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "auxar"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise UserError(f"the cache folder cannot be opened: {error}; {REMEDY}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise UserError(f"{folder} is not a folder; {REMEDY}")
    if found.st_uid != os.geteuid():
        raise UserError(f"{folder} belongs to another user (number {found.st_uid}); {REMEDY}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise UserError(f"{folder} is open to other users (mode {mode:04o}, expected 0700); delete it, or {REMEDY}")
    try:
        yield folder
    except (OSError, UserError) as error:
        raise UserError(f"{error}; {REMEDY}") from error


def _loaded(folder: Path, command: list[str], key: str, code: str, name: str) -> ctypes.CDLL:
    """Loads the library from a folder of this user alone. Compiles it first if the folder has no intact one.

    Raises `BrokenError` if it cannot be compiled, and `OSError` or `UserError` if it cannot be stored or loaded.
    """
    with holding(folder / f"sampler-{key}.lock", f"compile {name}"):
        path = _intact(folder, key)
        if path is None:
            logger.info("compiling %s, which takes some seconds", name)
            content = _compiled(command, code)
            path = folder / f"sampler-{key}-{_checksum(content)}.so"
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        loaded = ctypes.CDLL(str(path))
    for function, (result, arguments) in FUNCTIONS.items() if name == ENGINE else ():
        getattr(loaded, function).restype, getattr(loaded, function).argtypes = result, arguments
    return loaded


def _intact(folder: Path, key: str) -> Path | None:
    """The compiled library whose content matches the checksum in its name. Deletes damaged ones.

    A damaged library must not be loaded: if a part is missing, the process is killed as soon as it reads there.
    """
    for path in folder.glob(f"sampler-{key}-*.so"):
        if path.stem.endswith(f"-{_checksum(path.read_bytes())}"):
            return path
        logger.warning(
            "%s is damaged: its content does not match the checksum in its name; it is compiled again", path.resolve()
        )
        path.unlink()
    return None


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _compiled(command: list[str], code: str) -> bytes:
    """The content of the library that the compiler makes, for which it can read `code` from its input.

    Raises `BrokenError` if the compiler fails or is missing.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="auxar-") as folder:
            path = Path(folder) / "sampler.so"
            result = subprocess.run([*command, "-o", str(path)], input=code.encode(), capture_output=True, check=False)
            if result.returncode or not path.is_file():
                said = result.stderr.decode("utf-8", "replace").strip()
                reason = said[-500:] or f"status {result.returncode}, and no library was written"
                raise BrokenError(f"the C++ compiler {command[0]} failed: {reason}")
            return path.read_bytes()
    except OSError as error:
        raise BrokenError(f"the C++ compiler {command[0]} cannot be run: {error}") from error


def _processor() -> str:
    """A description of the processor for the key of the cached library.

    A home folder may be shared by machines with different processors.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _declared(header: str) -> dict[str, Any]:
    """The structures of a header by name. A field is a number, a structure, or an address."""
    types: dict[str, Any] = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "double": ctypes.c_double}
    types |= dict.fromkeys(re.findall(r"using (\w+) =", header), ctypes.c_void_p)
    text = re.sub(r"//.*|\bconst\b", "", header)
    for name, body in re.findall(r"struct (\w+) \{(.*?)\};", text, re.DOTALL):
        declarations = re.findall(r"(\w+) ([^;]+);", body)
        found = [(kind, field.strip()) for kind, fields in declarations for field in fields.split(",")]
        fields = [(each.lstrip("*"), ctypes.c_void_p if each[0] == "*" else types[kind]) for kind, each in found]
        types[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return types


structures = SimpleNamespace(**_declared((Path(__file__).parent / "structures.h").read_text(encoding="utf-8")))
"""The structures of structures.h by name."""


class Kept(list[object]):
    """The objects whose addresses the library gets, which must be kept alive."""

    def address(self, values: Any) -> int:
        """The address of a contiguous tensor or array, or of a structure, from now on kept alive."""
        self.append(values)
        if isinstance(values, Tensor):
            assert values.is_contiguous()
            return values.data_ptr()
        return values.ctypes.data if isinstance(values, np.ndarray) else ctypes.addressof(values)


def codes(library: ctypes.CDLL) -> dict[str, int]:
    """The values of the library's enumerations (kinds of instructions, kinds of operands, functions) by name."""
    enumerations = [library.names(number).decode().split() for number in range(3)]
    return {name: code for names in enumerations for code, name in enumerate(names)}
