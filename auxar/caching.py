"""Folders of generated files, which are written once and kept in the cache of the library `datasets`."""

import contextlib
import errno
import functools
import hashlib
import inspect
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from auxar.errors import UserError, one_line
from auxar.files import FOLDER, UNFINISHED, beside, entries, kind, read_bytes
from auxar.locks import holding

LONGEST_NAME = 60
"""Maximum number of characters of a name that are part of the name of its folder."""
CACHE_ADVICE = "set the environment variable HF_DATASETS_CACHE to a folder on another file system"


def cached_folder(
    name: str, key: object, write: Callable[[Path], object], *, sources: Sequence[str | PathLike[str]] = ()
) -> Path:
    """Returns the path of a folder with generated files, and generates them if they do not exist yet.

    It is for data sets that download, convert or draw their images. `write(folder)` writes the files into a new, empty
    folder. The folder gets its final name when `write` has returned, so an interrupted or failed `write` leaves no
    folder. If several processes of a machine ask for the same folder, one writes and the others wait.

    The files are generated again if one of these changes: `name`, the `repr` of `key` (usually the options), the size
    or time of a file in `sources`, or the Python file that defines `write`. Existing folders are never changed. They
    are in `auxar/sets/` in the cache of `datasets` (`HF_DATASETS_CACHE`), and may be deleted while no process reads
    them.

    Raises `UserError` if a source cannot be read or if the folder cannot be written, and the exceptions of `write`.

    Examples:
        >>> from PIL import Image
        >>> from auxar import cached_folder
        >>> folder = cached_folder("one-red-image", 8, lambda new: Image.new("RGB", (8, 8), "red").save(new / "0.png"))
        >>> [file.name for file in folder.glob("*.png")]
        ['0.png']
    """
    import datasets  # It takes a second to import, which plugins should not need to be loaded.

    identity = [name, repr(key), _code(write), *map(_stamp, sources)]
    digest = hashlib.sha256("\0".join(identity).encode(errors="surrogatepass")).hexdigest()[:16]
    label = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:LONGEST_NAME]
    folder = Path(datasets.config.HF_DATASETS_CACHE, "auxar", "sets", f"{label}-{digest}").absolute()
    # An existing folder is complete. It is read without the lock, because the cache may be read-only.
    if kind(folder) != FOLDER:
        with contextlib.ExitStack() as stack:
            with writing(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(holding(Path(f"{folder}.lock"), f"generate the files of {one_line(name)}"))
            if kind(folder) != FOLDER:  # Another process may have written it while this one waited.
                _write(folder, write)
    return folder


def _write(folder: Path, write: Callable[[Path], object]) -> None:
    """Writes the folder. The caller holds its lock, so older temporary folders are those of killed processes."""
    for left in entries(folder.parent, f".{folder.name}.*{UNFINISHED}"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = beside(folder)
    try:
        with writing(folder):
            temporary.mkdir()
        write(temporary)
        with writing(folder):
            for file in temporary.rglob("*"):
                if file.is_file():
                    with file.open("rb") as written:
                        os.fsync(written.fileno())
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cannot_be_written(path: Path, error: OSError) -> UserError:
    """The error for a file or folder in the cache that cannot be written."""
    return UserError(f"{path} cannot be written: {error.strerror or error}; free disk space, or {CACHE_ADVICE}")


def disk_error(error: BaseException | None) -> OSError | None:
    """The error of a full or read-only disk among an error and its causes, which libraries wrap in others."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A context in which a file or folder of the cache is written. Raises `UserError` if the system refuses it."""
    try:
        yield
    except Exception as error:
        cause = error if isinstance(error, OSError) else disk_error(error)
        if cause is None:
            raise
        raise cannot_be_written(path, cause) from error


def _stamp(source: str | PathLike[str]) -> str:
    """The path, the size and the time of the last change of a file or folder, as one string."""
    path = Path(source).absolute()
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{one_line(str(path))} cannot be read: {error.strerror or error}") from None
    return f"{path}:{found.st_size}:{found.st_mtime_ns}"


def _code(write: Callable[..., Any]) -> str:
    """A hash of the Python file that defines a function; empty if the file is unknown."""
    while isinstance(write, functools.partial):
        write = write.func
    code = getattr(inspect.unwrap(write), "__code__", None)
    file = None if code is None else code.co_filename
    return hashlib.sha256(read_bytes(Path(file))).hexdigest() if file and Path(file).is_file() else ""
