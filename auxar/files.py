"""Atomic writing, and safe reading of files that may be damaged or hostile.

If a process is killed while it writes, the file has either its old or its new content. Only new and regular files are
written. Texts and headers have a maximum size, and callers can check the shapes of tensors before these are read.
"""

import contextlib
import errno
import fnmatch
import hashlib
import json
import math
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from auxar.errors import UserError

UNFINISHED = ".part"
"""Suffix of a temporary file while it is written. A file that keeps it was left by a killed process."""
FILE, FOLDER = "regular file", "folder"
NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
"""The errors of a path that leads to no file, or that has a name that no file can have."""
KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: "link"}
"""The kinds of files, by the part of the mode that says the kind."""
MOST_TEXT = 2**28
"""Maximum size in bytes of a text file that is read, enough for a million lines of metrics."""
CHUNK = 2**20
"""Number of bytes that are read at once from a file whose content is not kept."""
CHECKSUM = "sha256"
"""Metadata key of the checksum in a safetensors file."""
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor, by name."""


class DamagedFile(UserError):
    """The error for a file with invalid content, which was truncated, overwritten or corrupted.

    Messages may advise to delete the file, so this is never the error for a file that cannot be read.
    """


def kind(path: Path, *, follow_links: bool = False) -> str | None:
    """Returns the kind of the file at `path`, such as "regular file" or "link"; None if there is no file.

    With `follow_links`, it is the kind of the file that a link leads to. Raises `UserError` if the system refuses.
    """
    with refusing(path, "read"):
        try:
            return KINDS.get(stat.S_IFMT(path.stat(follow_symlinks=follow_links).st_mode), "special file")
        except (OSError, ValueError) as error:  # ValueError: the path contains a null character.
            if isinstance(error, OSError) and error.errno not in NO_FILE:
                raise
    return None


def is_file(path: Path) -> bool:
    """Whether there is a regular file at `path`, or a link to one.

    Unlike `Path.is_file`, raises `UserError` if there is anything else, or if the system refuses to tell.
    """
    found = kind(path, follow_links=True)
    if found not in (None, FILE):
        raise UserError(f"{path} cannot be read: it is not a regular file")
    return found is not None


def entries(folder: Path, pattern: str = "*") -> list[Path]:
    """Returns the paths in a folder that match a pattern such as "factors/*/*.png", sorted.

    The result is empty if the folder does not exist. Unlike `Path.glob`, raises `UserError` if a folder cannot be read,
    because such a folder need not be empty.
    """
    found = [folder]
    for part in pattern.split("/"):
        found = [path / name for path in found for name in _names(path) if fnmatch.fnmatchcase(name, part)]
    return found


def _names(folder: Path) -> list[str]:
    # ValueError: the path contains a null character or half of a surrogate pair.
    with refusing(folder, "read"), contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
        return sorted(os.listdir(folder))
    return []


@contextlib.contextmanager
def refusing(path: Path, action: str) -> Iterator[None]:
    """Raises `UserError` if the system refuses an action ("read", "written" or "removed") within the block."""
    try:
        yield
    except OSError as error:
        if action == "read" and isinstance(error, FileNotFoundError):
            raise UserError(f"{path} is missing") from None
        raise UserError(f"{path} cannot be {action}: {error.strerror or error}") from error


def check_output(path: Path) -> None:
    """Raises `UserError` unless `path` is new or a regular file. A link leads to a file that the user has not named."""
    found = kind(path)
    if found not in (None, FILE):
        raise UserError(f"{path} cannot be written: expected a new or a regular file, found a {found}")


def try_write(path: Path) -> None:
    """Raises `UserError`, before any work, if the system lets no file be made where `path` will be."""
    with refusing(path, "written"):
        tempfile.TemporaryFile(dir=next(each for each in path.absolute().parents if each.exists())).close()


def check_replaceable(path: Path, replace: bool) -> None:
    """Raises `UserError` if there is a file that must not be replaced, or something else than a file."""
    if not replace and kind(path) is not None:
        raise UserError(f"{path} exists; files are replaced only with --replace")
    check_output(path)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`. Its file replaces `path` if the block ends without an error.

    Raises `UserError` if the file cannot be written, or if `path` is neither new nor a regular file.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "colors.txt"
        >>> with replacing(path) as temporary:
        ...     _ = temporary.write_text("red")
        >>> path.read_text()
        'red'
    """
    check_output(path)
    temporary = beside(path)
    try:
        with refusing(path, "written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """A new path for a temporary file or folder, in the folder of `path`, which it will replace."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")


def remove(path: Path) -> None:
    """Removes a file or link if it exists. Raises `UserError` if it cannot be removed."""
    with refusing(path, "removed"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, atomically."""
    # File names may contain bytes that are not UTF-8. Python holds them as surrogates, written as JSON escapes.
    text = to_json(value, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")
    write_text(path, text.decode() + "\n")


def append_line(path: Path, line: str) -> None:
    """Appends a line to a new or regular text file, not atomically. Raises `UserError` if it cannot be written."""
    check_output(path)
    with refusing(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading within the block.

    Raises `UserError` if the file is missing, and if it cannot be opened or, within the block, read.
    """
    with refusing(path, "read"), path.open("rb") as file:
        yield file


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """Reads a file of at most `most` bytes. Raises `UserError` if it is missing, cannot be read or is larger."""
    with reading(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UserError(f"{path} is too large: expected at most {most:,} bytes")
    return content


def to_json(value: Any, *, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """Converts plain values to JSON, with the strings "NaN", "Infinity" and "-Infinity" for floats that are not finite.

    JSON has no numbers for them. Paths are strings, too. `StrictConverter` can convert the strings back.
    """
    return json.dumps(_spelled_out(value), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def _spelled_out(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _spelled_out(entry) for key, entry in value.items()}
    return [_spelled_out(entry) for entry in value] if isinstance(value, list | tuple) else value


def parse_json(content: bytes | str) -> Any:
    """Parses JSON. Raises `ValueError` if the text is not JSON, is nested too deeply, or has too long an integer."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path) -> Any:
    """Reads a JSON file. Raises `UserError` if it cannot be read, and `DamagedFile` if it is not valid JSON."""
    try:
        return parse_json(read_bytes(path))
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: it is not valid JSON ({error})") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file atomically, with a checksum in its metadata. Tensors may share memory."""
    found: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        # safetensors refuses to write tensors that share memory.
        found[name] = own.clone() if own.untyped_storage().data_ptr() in places else own
        places.add(found[name].untyped_storage().data_ptr())
    metadata = {**metadata, CHECKSUM: _checksum(found, metadata)}
    with replacing(path) as temporary:
        try:
            save_file(found, temporary, metadata)
        except SafetensorError as error:  # safetensors does not report a full disk as an OSError.
            raise UserError(f"{path} cannot be written: {error}") from None


def read_header(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Reads the header of a safetensors file: the shapes of its tensors, and its metadata.

    The metadata includes the checksum, which is not verified. Raises `UserError` if the file is missing or cannot be
    read, and `DamagedFile` if its header is invalid.
    """
    with _tensors(path) as (_, file):
        return _header(file)


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the metadata of a safetensors file, as `read_header` does."""
    return read_header(path)[1]


def metadata_entry(metadata: Mapping[str, str], key: str, path: Path) -> str:
    """Returns an entry of the metadata of the safetensors file `path`. Raises `DamagedFile` if it is missing."""
    if key not in metadata:
        raise DamagedFile(f"{path} is damaged: its metadata entry '{key}' is missing")
    return metadata[key]


def read_checksum(path: Path) -> str:
    """Reads the checksum in a safetensors file, without verifying it. `DamagedFile` is raised, too, if it has none."""
    return metadata_entry(read_metadata(path), CHECKSUM, path)


def read_tensors(
    path: Path, check: Callable[[Shapes, Mapping[str, str]], None] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors of a safetensors file, and its metadata without the checksum.

    Before any tensor is read, `check` is called with the shapes and the metadata of the header. It raises `UserError`
    to refuse the file. Raises `UserError` if the file is missing or cannot be read, and `DamagedFile` if it is not a
    safetensors file, has no checksum or does not match it.
    """
    with _tensors(path) as (raw, file):
        shapes, metadata = _header(file)
        expected = metadata_entry(metadata, CHECKSUM, path)
        del metadata[CHECKSUM]
        if check is not None:
            check(shapes, metadata)
        # Tensors are mapped into memory, where a failure of the disk would end the process. Here it raises an error.
        while raw.read(CHUNK):
            pass
        tensors = {name: file.get_tensor(name) for name in shapes}
        found = _checksum(tensors, metadata)
    if found != expected:
        raise DamagedFile(f"{path} is damaged: its content does not match its checksum")
    return tensors, metadata


@contextlib.contextmanager
def _tensors(path: Path) -> Iterator[tuple[BinaryIO, Any]]:
    """Opens a safetensors file, whose library bounds the header. Yields the open file and its tensors.

    Raises `UserError` if the file is missing or cannot be read, and `DamagedFile` if its content is invalid.
    """
    with reading(path) as raw:
        try:
            with safe_open(path, framework="pt") as file:
                yield raw, file
        except MemoryError as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        except (SafetensorError, RuntimeError, ValueError) as error:
            # PyTorch reports in this way that it cannot open or map a file, which is no damage.
            if str(error).startswith("unable to "):
                raise UserError(f"{path} cannot be read: {error}") from None
            raise DamagedFile(f"{path} is damaged: {error}") from None


def _header(file: Any) -> tuple[Shapes, dict[str, str]]:
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes, dict(file.metadata() or {})


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The SHA-256 checksum of the metadata, and of the name, type, shape and bytes of every tensor."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
